//! Where a member lives, where it listens, what it takes.

use crate::flags::Kind::{Bool, Duration, Int, Text, Uint, Uint32, Urls, Words};
use crate::flags::{Flag, flag};

pub(super) const FLAGS: &[Flag] = &[
    flag("name", Text, "default", "Name of this member, as in --initial-cluster"),
    flag("data-dir", Text, "", "Folder of this member's data; NAME.etcd if empty"),
    flag("wal-dir", Text, "", "Folder of the log").refused(
        "the log lies in the data folder: mount or link a disk of its own at its place there",
    ),
    flag("snapshot-count", Uint, "10000", "Log entries between snapshots").ignored(NO_SNAPSHOTS),
    flag("heartbeat-interval", Uint, "100", "Milliseconds between heartbeats"),
    flag("election-timeout", Uint, "1000", "Milliseconds of silence after which a leader is gone"),
    flag("initial-election-tick-advance", Bool, "true", "Let the first election begin early")
        .ignored("elections wait for the silence of a leader, at the start too"),
    flag("listen-peer-urls", Urls, PEERS, "URLs to listen on for other members"),
    flag("listen-client-urls", Urls, CLIENTS, "URLs to listen on for clients: gRPC and HTTP"),
    flag(
        "listen-client-http-urls",
        Urls,
        "",
        "URLs to listen on for clients: HTTP alone, which the others then do not serve",
    ),
    flag("max-snapshots", Uint, "5", "Snapshot files to keep").ignored(
        "the store is its own snapshot, and the log is cut behind it. --max-snapshots is \
         deprecated in 3.6 and will be decommissioned in 3.8",
    ),
    flag("max-wals", Uint, "5", "Log files to keep").ignored(
        "the log is cut by bytes: see log-keep-bytes. --max-wals is deprecated in 3.6 and will \
             be decommissioned in 3.8",
    ),
    flag(
        "log-keep-bytes",
        Uint,
        "536870912",
        "Bytes of the log kept for members that lag; beyond, they get a snapshot. The default is \
         less on a small disk",
    ),
    flag("memory-mlock", Bool, "false", "Lock memory against swapping")
        .ignored("memory is not locked: turn swapping off for the process instead"),
    flag(
        "quota-backend-bytes",
        Int,
        "0",
        "Most bytes of the store; 0 is 2 GiB or a quarter of a smaller disk, negative is none",
    ),
    flag("backend-bbolt-freelist-type", Text, "map", "Kind of bbolt's free list").ignored(NO_BBOLT),
    flag("backend-batch-interval", Duration, "0s", "Time between commits of the store")
        .ignored(NO_BBOLT),
    flag("backend-batch-limit", Int, "0", "Operations between commits of the store")
        .ignored(NO_BBOLT),
    flag("max-txn-ops", Uint, "128", "Most operations of a transaction"),
    flag("max-request-bytes", Uint, "1572864", "Most bytes of a request"),
    flag("max-concurrent-streams", Uint32, "10000", "Most streams of a connection"),
    flag("grpc-keepalive-min-time", Duration, "5s", "Least time between pings of a client")
        .ignored("a ping costs next to nothing here; floods of them end the connection"),
    flag("grpc-keepalive-interval", Duration, "60s", "Time between pings to a client; 0 is never"),
    flag("grpc-keepalive-timeout", Duration, "20s", "Time that a client has to answer a ping"),
    flag("socket-reuse-port", Bool, "false", "Listen with SO_REUSEPORT"),
    flag("socket-reuse-address", Bool, "false", "Listen with SO_REUSEADDR"),
    flag("enable-grpc-gateway", Bool, "true", "Serve the API as JSON, too"),
    flag("raft-read-timeout", Duration, "5s", "Time-out of reads from a peer").ignored(NO_RAFT),
    flag("raft-write-timeout", Duration, "5s", "Time-out of writes to a peer").ignored(NO_RAFT),
    flag(
        "feature-gates",
        Words,
        "",
        "etcd's features as NAME=true or NAME=false: \
          InitialCorruptCheck, others do nothing",
    ),
];

const PEERS: &str = "http://localhost:2380";
const CLIENTS: &str = "http://localhost:2379";
const NO_SNAPSHOTS: &str = "the store is its own snapshot, and the log is cut behind it";
const NO_BBOLT: &str = "the store is not bbolt, and writes behind the log";
const NO_RAFT: &str = "peers that fall silent are noticed within 3 s";
