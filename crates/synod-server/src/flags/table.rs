//! The table of flags: those of etcd 3.6, by the sections of its help.

mod clustering;
mod features;
mod member;
mod operation;
mod security;

use super::Kind::Text;
use super::{Flag, Section, flag};

/// All flags, in the order of the help.
pub(super) const SECTIONS: &[Section] = &[
    Section { title: "Member", flags: member::FLAGS },
    Section { title: "Clustering", flags: clustering::FLAGS },
    Section { title: "Security", flags: security::FLAGS },
    Section { title: "Auth", flags: operation::AUTH },
    Section { title: "Profiling and Monitoring", flags: operation::MONITORING },
    Section { title: "Logging", flags: operation::LOGGING },
    Section { title: "Distributed tracing", flags: operation::TRACING },
    Section { title: "Features", flags: features::FLAGS },
    Section { title: "Unsafe features", flags: features::UNSAFE },
    Section { title: "Old names", flags: features::OLD },
    Section { title: "Synod's own", flags: OWN },
];

const OWN: &[Flag] = &[
    flag(
        "max-client-connections",
        super::Kind::Uint,
        "100000",
        "Most connections of clients at a time, over all client listeners",
    ),
    flag(
        "max-range-bytes",
        super::Kind::Uint,
        "536870912",
        "Bytes of memory that the answers to all ranges under way may take together",
    ),
    flag(
        "max-range-request-bytes",
        super::Kind::Uint,
        "268435456",
        "Bytes of memory that one range may take: in the order of keys it takes 2 MiB at most",
    ),
    flag(
        "max-client-connections-per-host",
        super::Kind::Uint,
        "0",
        "Most of them from one address (IPv6: one /64 network); 0 is three quarters of all",
    ),
    flag(
        "config-file",
        Text,
        "",
        "YAML file with the flags' names as keys; nothing else then counts",
    ),
];
