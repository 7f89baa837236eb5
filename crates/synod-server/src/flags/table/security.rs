//! Certificates, and who is let in.

use crate::flags::Kind::{Bool, Text, Uint, Words};
use crate::flags::{Flag, flag};

pub(super) const FLAGS: &[Flag] = &[
    flag("cert-file", Text, "", "Certificate of the client listeners, PEM"),
    flag("key-file", Text, "", "Its key, PEM"),
    flag("client-cert-auth", Bool, "false", "Ask clients for a certificate"),
    flag("client-cert-file", Text, "", "Certificate of this server towards itself")
        .ignored(NO_LOOP),
    flag("client-key-file", Text, "", "Its key").ignored(NO_LOOP),
    flag("client-crl-file", Text, "", "Revoked certificates of clients, PEM or DER"),
    flag("client-cert-allowed-hostname", Words, "", "Names that certificates of clients may have"),
    flag("trusted-ca-file", Text, "", "CA of clients' certificates, PEM"),
    flag("auto-tls", Bool, "false", "Make a certificate for the client listeners"),
    flag("peer-cert-file", Text, "", "Certificate of this member, PEM"),
    flag("peer-key-file", Text, "", "Its key, PEM"),
    flag("peer-client-cert-auth", Bool, "false", "Ask peers for a certificate"),
    flag("peer-client-cert-file", Text, "", "Certificate towards peers; else --peer-cert-file"),
    flag("peer-client-key-file", Text, "", "Its key; else --peer-key-file"),
    flag("peer-trusted-ca-file", Text, "", "CA of peers' certificates, PEM"),
    flag("peer-cert-allowed-cn", Words, "", "Common names that certificates of peers may have"),
    flag("peer-cert-allowed-hostname", Words, "", "Names that certificates of peers may have"),
    flag("peer-auto-tls", Bool, "false", "Make a certificate for this member; none is verified"),
    flag("self-signed-cert-validity", Uint, "1", "Years that a made certificate is valid"),
    flag("peer-crl-file", Text, "", "Revoked certificates of peers, PEM or DER"),
    flag("peer-skip-client-san-verification", Bool, "false", "Do not look at peers' names")
        .ignored("a peer's address is not compared with its certificate"),
    flag("cipher-suites", Words, "", "Cipher suites of TLS 1.2, by Go's names; weak ones fail"),
    flag("cors", Words, "*", "Origins whose pages may ask; * is any"),
    flag("host-whitelist", Words, "*", "Hosts that HTTP requests may name without TLS; * is any"),
    flag("tls-min-version", Text, "TLS1.2", "Lowest version of TLS: TLS1.2 or TLS1.3"),
    flag("tls-max-version", Text, "", "Highest version of TLS: TLS1.2 or TLS1.3"),
];

const NO_LOOP: &str = "this server never calls itself over the network";
