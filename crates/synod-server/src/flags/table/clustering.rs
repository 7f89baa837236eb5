//! How members find each other.

use crate::flags::Kind::{Bool, Choice, Duration, Text, Urls, Words};
use crate::flags::{Flag, flag};

pub(super) const FLAGS: &[Flag] = &[
    flag(
        "initial-advertise-peer-urls",
        Urls,
        "http://localhost:2380",
        "URLs under which the other members find this one",
    ),
    flag("initial-cluster", Text, "", "All members: NAME=PEER_URL,…; this one alone if empty"),
    flag(
        "initial-cluster-state",
        Choice(&["new", "existing"]),
        "new",
        "Whether a member without data founds a cluster (new) or joins one (existing)",
    ),
    flag("initial-cluster-token", Text, "etcd-cluster", "Tells clusters of equal URLs apart"),
    flag("advertise-client-urls", Urls, "http://localhost:2379", "URLs that clients are told"),
    flag("discovery", Text, "", "URL of a discovery service, version 2").refused(NO_SERVICE),
    flag("discovery-token", Text, "", "Token at a discovery service").refused(NO_SERVICE),
    flag("discovery-endpoints", Words, "", "Endpoints of a discovery service").refused(NO_SERVICE),
    flag("discovery-dial-timeout", Duration, "2s", "Discovery: dials").ignored(UNUSED),
    flag("discovery-request-timeout", Duration, "5s", "Discovery: requests").ignored(UNUSED),
    flag("discovery-keepalive-time", Duration, "2s", "Discovery: pings").ignored(UNUSED),
    flag("discovery-keepalive-timeout", Duration, "6s", "Discovery: answers").ignored(UNUSED),
    flag("discovery-insecure-transport", Bool, "true", "Discovery: without TLS").ignored(UNUSED),
    flag("discovery-insecure-skip-tls-verify", Bool, "false", "Discovery: do not verify")
        .ignored(UNUSED),
    flag("discovery-cert", Text, "", "Discovery: certificate").ignored(UNUSED),
    flag("discovery-key", Text, "", "Discovery: key").ignored(UNUSED),
    flag("discovery-cacert", Text, "", "Discovery: CA").ignored(UNUSED),
    flag("discovery-user", Text, "", "Discovery: user").ignored(UNUSED),
    flag("discovery-password", Text, "", "Discovery: password").ignored(UNUSED),
    flag("discovery-fallback", Choice(&["exit", "proxy"]), "exit", "When discovery fails")
        .ignored(UNUSED),
    flag("discovery-proxy", Text, "", "Discovery: HTTP proxy").ignored(UNUSED),
    flag("discovery-srv", Text, "", "DNS domain whose SRV records name the members"),
    flag("discovery-srv-name", Text, "", "End of the SRV service's name: etcd-server-NAME"),
    flag("strict-reconfig-check", Bool, "true", "Refuse changes of members that cost the quorum"),
    flag("pre-vote", Bool, "true", "Ask before an election whether it would succeed")
        .ignored("a member that comes back never deposes a leader that others still hear"),
    flag(
        "auto-compaction-retention",
        Text,
        "0",
        "History to keep: a time (hours without a unit) or a number of revisions; 0 is all",
    ),
    flag("auto-compaction-mode", Text, "periodic", "What the retention is: periodic or revision"),
    flag(
        "v2-deprecation",
        Choice(&["write-only", "write-only-skip-check", "write-only-drop-data", "gone"]),
        "write-only",
        "Stage of etcd's farewell to its version 2",
    )
    .ignored(
        "there is no version 2 here. --v2-deprecation is deprecated and scheduled for removal in \
         v3.8. The default value is enforced, ignoring user input",
    ),
];

const NO_SERVICE: &str =
    "discovery services are not built: name the members with --initial-cluster";
const UNUSED: &str = "no discovery service is ever asked";
