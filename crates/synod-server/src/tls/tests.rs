//! Handshakes between two members, or a client and a member, in memory.

use std::path::Path;

use clap::Parser;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::config::ServerFlags;

#[path = "../../tests/tls/certificates.rs"]
mod certificates;

mod links;

use certificates::{Authority, Pair, Subject};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: ServerFlags,
}

fn flags(folder: &Path, flags: &[String]) -> ServerConfig {
    let base = [
        "synod".to_owned(),
        format!("--data-dir={}", folder.join("data").display()),
        "--listen-peer-urls=https://127.0.0.1:2380".to_owned(),
        "--initial-advertise-peer-urls=https://127.0.0.1:2380".to_owned(),
        "--listen-client-urls=https://127.0.0.1:2379".to_owned(),
        "--advertise-client-urls=https://127.0.0.1:2379".to_owned(),
        "--auto-tls".to_owned(),
    ];
    let line = base.into_iter().chain(flags.iter().cloned());
    Line::try_parse_from(line).ok().unwrap().flags.check().unwrap()
}

/// A member with this certificate, that trusts this authority.
fn member(folder: &Path, pair: &Pair, ca: &Path, more: &[String]) -> ServerTls {
    let own = [
        format!("--peer-cert-file={}", pair.cert.display()),
        format!("--peer-key-file={}", pair.key.display()),
        format!("--peer-trusted-ca-file={}", ca.display()),
    ];
    ServerTls::open(&flags(folder, &[&own, more].concat())).unwrap()
}

/// What each side says of a connection: an error, or that words went to and fro.
async fn meet(dials: &ServerTls, accepts: &ServerTls) -> (Result<(), String>, Result<(), String>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let connector = TlsConnector::from(dials.dialling().unwrap());
    let acceptor = TlsAcceptor::from(accepts.accepting().unwrap());
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let dialled = async {
        let mut stream = connector.connect(name, near).await.map_err(|e| e.to_string())?;
        stream.write_all(b"x").await.map_err(|e| e.to_string())?;
        stream.read_u8().await.map(drop).map_err(|e| e.to_string())
    };
    let accepted = async {
        let mut stream = acceptor.accept(far).await.map_err(|e| e.to_string())?;
        stream.write_all(b"y").await.map_err(|e| e.to_string())?;
        stream.read_u8().await.map(drop).map_err(|e| e.to_string())
    };
    tokio::join!(dialled, accepted)
}

/// As in etcd: encrypted, and verified by the machine's authorities, which know none of ours.
#[tokio::test]
async fn without_a_ca_members_trust_whom_the_machine_trusts() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, ours) = (temp.path(), Authority::new("ours"));
    let pair = ours.sign(dir, "m", &Subject::default());
    let ca = ours.file(dir, "ca.pem");
    let knows = member(dir, &pair, &ca, &[]);
    let asks_nobody = ServerTls::open(&flags(
        dir,
        &[
            format!("--peer-cert-file={}", pair.cert.display()),
            format!("--peer-key-file={}", pair.key.display()),
        ],
    ));
    let asks_nobody = asks_nobody.unwrap();
    assert_eq!(meet(&knows, &asks_nobody).await, (Ok(()), Ok(())));
    let (dialled, _) = meet(&asks_nobody, &knows).await;
    assert!(dialled.unwrap_err().contains("UnknownIssuer"));
}

#[tokio::test]
async fn peers_are_let_in_by_certificate_and_name() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let (ca, foreign_ca) = (ours.file(dir, "ca.pem"), foreign.file(dir, "foreign.pem"));
    let sign = |file: &str, subject: Subject<'_>| ours.sign(dir, file, &subject);
    let good = sign("good", Subject { serial: 7, ..Subject::default() });
    let ended = sign("ended", Subject { has_ended: true, ..Subject::default() });
    let revoked = sign("revoked", Subject { serial: 8, ..Subject::default() });
    let other =
        sign("other", Subject { name: "x", hosts: &["127.0.0.1", "h"], ..Subject::default() });
    let stranger = foreign.sign(dir, "stranger", &Subject::default());
    let crl = ours.revoke(dir, "crl.pem", &[8]);

    let crl = format!("--peer-crl-file={}", crl.display());
    let names = "--peer-cert-allowed-cn=m,n".to_owned();
    let hosts = "--peer-cert-allowed-hostname=localhost".to_owned();
    let table: [(&Pair, &Path, &[String], &str); 9] = [
        (&good, &ca, &[], ""),
        (&good, &ca, &[crl.clone(), names.clone()], ""),
        (&good, &ca, &[crl.clone(), hosts.clone()], ""),
        (&ended, &ca, &[], "certificate expired"),
        (&revoked, &ca, &[], ""),
        (&revoked, &ca, &[crl], "Revoked"),
        (&other, &ca, &[names], "its common name is not allowed: x"),
        (&other, &ca, &[hosts], "its host name is not allowed: none of localhost"),
        (&stranger, &foreign_ca, &[], "Unknown"),
    ];
    for (pair, their_ca, judged_by, expected) in table {
        let judge = member(dir, &good, &ca, judged_by);
        let them = member(dir, pair, their_ca, &[]);
        // Whoever dials whom, the judge's side says why not.
        let (_, accepted) = meet(&them, &judge).await;
        let (dialled, _) = meet(&judge, &them).await;
        for verdict in [accepted, dialled] {
            match verdict {
                Ok(()) => assert_eq!(expected, "", "{pair:?}"),
                Err(error) => {
                    assert!(!expected.is_empty() && error.contains(expected), "{pair:?}: {error}");
                }
            }
        }
    }
}

/// One certificate for everything, which is the authority as well: etcd takes it.
#[tokio::test]
async fn members_may_show_the_authority_itself() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let named = |file: &str, subject: Subject<'_>| Authority::showing_itself(dir, file, &subject).1;
    let good = named("good", Subject { serial: 7, ..Subject::default() });
    let ended = named("ended", Subject { has_ended: true, ..Subject::default() });
    let elsewhere = named("elsewhere", Subject { hosts: &["h"], ..Subject::default() });
    let (revoking, revoked) = {
        let subject = Subject { serial: 8, ..Subject::default() };
        Authority::showing_itself(dir, "revoked", &subject)
    };
    let crl = format!("--peer-crl-file={}", revoking.revoke(dir, "crl.pem", &[8]).display());
    let other_crl = format!("--peer-crl-file={}", revoking.revoke(dir, "o.pem", &[9]).display());

    let met = async |pair: &Pair, trusted: &Pair, more: &[String]| {
        let judge = member(dir, &good, &trusted.cert, more);
        let them = member(dir, pair, &good.cert, &[]);
        let (accepted, dialled) = (meet(&them, &judge).await.1, meet(&judge, &them).await.0);
        (accepted.err().unwrap_or_default(), dialled.err().unwrap_or_default())
    };
    assert_eq!(met(&good, &good, &[]).await, (String::new(), String::new()));
    assert_eq!(met(&revoked, &revoked, &[other_crl]).await, (String::new(), String::new()));
    let table: [(&Pair, &Pair, &[String], &str, &str); 4] = [
        (&ended, &ended, &[], "certificate expired", "certificate expired"),
        (&revoked, &revoked, &[crl], "Revoked", "Revoked"),
        // Whom one dials has to be who was meant.
        (&elsewhere, &elsewhere, &[], "", "not valid for name"),
        // An authority of the same name is another.
        (&elsewhere, &good, &[], "Ca", "Ca"),
    ];
    for (pair, trusted, more, accepting, dialling) in table {
        let (accepted, dialled) = met(pair, trusted, more).await;
        assert!(accepted.contains(accepting), "{pair:?}: {accepted}");
        assert_eq!(accepted.is_empty(), accepting.is_empty(), "{pair:?}: {accepted}");
        assert!(dialled.contains(dialling), "{pair:?}: {dialled}");
    }
}

fn client_side(temp: &TempDir, pair: &Pair) -> Side {
    let config = flags(
        temp.path(),
        &[
            "--peer-auto-tls".to_owned(),
            format!("--cert-file={}", pair.cert.display()),
            format!("--key-file={}", pair.key.display()),
        ],
    );
    ServerTls::open(&config).unwrap().client.unwrap()
}

#[test]
fn a_half_written_pair_keeps_the_old_one() {
    let temp = tempfile::tempdir().unwrap();
    let ca = Authority::new("ca");
    let pair = ca.sign(temp.path(), "server", &Subject::default());
    let side = client_side(&temp, &pair);
    let before = side.accepting();
    side.refresh();
    assert!(Arc::ptr_eq(&before, &side.accepting()), "nothing has changed");

    let next = ca.sign(temp.path(), "next", &Subject { has_ended: true, ..Subject::default() });
    std::fs::rename(&next.cert, &pair.cert).unwrap();
    side.refresh();
    assert!(Arc::ptr_eq(&before, &side.accepting()), "the key is still the old one");
    assert!(side.not_after() > now());

    std::fs::rename(&next.key, &pair.key).unwrap();
    side.refresh();
    assert!(!Arc::ptr_eq(&before, &side.accepting()), "now they belong together");
    assert!(side.not_after() < now(), "and expiry is told of the new one");

    std::fs::remove_file(&pair.cert).unwrap();
    let kept = side.accepting();
    side.refresh();
    assert!(Arc::ptr_eq(&kept, &side.accepting()), "a file that is gone changes nothing");
}

#[tokio::test]
async fn made_certificates_are_kept_and_serve_peers() {
    let temp = tempfile::tempdir().unwrap();
    let config = flags(temp.path(), &["--peer-auto-tls".to_owned()]);
    let first = ServerTls::open(&config).unwrap();
    let cert = temp.path().join("data/fixtures/peer/cert.pem");
    let made = std::fs::read(&cert).unwrap();
    let second = ServerTls::open(&config).unwrap();
    assert_eq!(std::fs::read(&cert).unwrap(), made, "made once");
    assert!(temp.path().join("data/fixtures/client/key.pem").exists());
    assert_eq!(meet(&first, &second).await, (Ok(()), Ok(())));
    let years = (first.expiries()[0].1 - now()).div_euclid(364 * DAY_SECONDS);
    assert_eq!(years, 1);
}

#[test]
fn files_that_do_not_serve_are_named() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    let pair = one.sign(dir, "pair", &Subject::default());
    let other = two.sign(dir, "other", &Subject::default());
    let ca = one.file(dir, "ca.pem");
    let missing = dir.join("missing.pem");
    let table = [
        (&missing, &pair.key, &ca, "missing.pem: No such file"),
        (&pair.key, &pair.key, &ca, "pair.key: it holds no certificate in PEM"),
        (&pair.cert, &pair.cert, &ca, "pair.pem: it holds no key in PEM"),
        (&pair.cert, &other.key, &ca, "pair.pem: keys may not be consistent"),
        (&pair.cert, &pair.key, &pair.key, "pair.key: it holds no certificate in PEM"),
    ];
    for (cert, key, ca, expected) in table {
        let given = [
            "--peer-auto-tls".to_owned(),
            format!("--cert-file={}", cert.display()),
            format!("--key-file={}", key.display()),
            format!("--trusted-ca-file={}", ca.display()),
        ];
        let error = ServerTls::open(&flags(dir, &given)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}, not {expected}");
    }
}

#[test]
fn versions_and_suites_are_those_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let open = |more: &[&str]| {
        let more: Vec<String> = more.iter().map(|flag| (*flag).to_owned()).collect();
        let given = [&["--peer-auto-tls".to_owned()][..], &more].concat();
        let tls = ServerTls::open(&flags(temp.path(), &given)).unwrap();
        let config = tls.client.unwrap().accepting();
        let suites = config.crypto_provider().cipher_suites.iter().map(|suite| suite.suite());
        suites.map(|suite| format!("{suite:?}")).collect::<Vec<_>>()
    };
    assert_eq!(open(&[]).len(), 9);
    let asked = "--cipher-suites=TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305,\
                 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    let suites = open(&[asked]);
    let of_tls12: Vec<&String> = suites.iter().filter(|suite| !suite.contains("TLS13")).collect();
    assert_eq!(
        of_tls12,
        [
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
        ]
    );
    open(&["--tls-min-version=TLS1.3"]);
    open(&["--tls-max-version=TLS1.2"]);
}
