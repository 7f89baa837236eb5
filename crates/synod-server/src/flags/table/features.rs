//! Small features, dangerous ones, and names that flags had in earlier versions of etcd.

use crate::flags::Kind::{Anything, Bool, Duration, Int, Text, Uint};
use crate::flags::{Flag, flag, renamed};

pub(super) const FLAGS: &[Flag] = &[
    flag(
        "corrupt-check-time",
        Duration,
        "0s",
        "If not 0s, members whose stores differ raise the alarm CORRUPT; compared every 5s anyway",
    ),
    flag("compact-hash-check-time", Duration, "1m", "Time between comparisons after compactions")
        .ignored(NO_CHECK),
    flag("compaction-batch-limit", Int, "1000", "Revisions that one step of a compaction drops"),
    flag("compaction-sleep-interval", Duration, "10ms", "Pause between two such steps"),
    flag(
        "watch-progress-notify-interval",
        Duration,
        "10m",
        "Time between notices to idle watchers",
    ),
    flag("warning-apply-duration", Duration, "100ms", "Warn of commands that take longer to apply"),
    flag(
        "bootstrap-defrag-threshold-megabytes",
        Uint,
        "0",
        "Free space to defragment for at start",
    )
    .ignored("Skipping defragmentation: the store needs none"),
    flag("max-learners", Int, "1", "Most learners of the cluster"),
    flag("downgrade-check-time", Duration, "5s", "Time between looks at a downgrade")
        .ignored("a downgrade is not watched"),
    flag("snapshot-catchup-entries", Uint, "5000", "Log entries kept for slow followers")
        .ignored("the log is kept until all members have it, or its bound is reached"),
];

pub(super) const UNSAFE: &[Flag] = &[
    flag("force-new-cluster", Bool, "false", "Make a cluster of one out of this member")
        .refused("it is not built: restore a snapshot into a new cluster instead"),
    flag("unsafe-no-fsync", Bool, "false", "Do not wait for the disk").refused(
        "an acknowledged write that a power cut takes back is no write: leave the flag out",
    ),
];

pub(super) const OLD: &[Flag] = &[
    renamed(
        "experimental-peer-skip-client-san-verification",
        Bool,
        "peer-skip-client-san-verification",
    ),
    renamed("experimental-enable-distributed-tracing", Bool, "enable-distributed-tracing"),
    renamed("experimental-distributed-tracing-address", Text, "distributed-tracing-address"),
    renamed(
        "experimental-distributed-tracing-service-name",
        Text,
        "distributed-tracing-service-name",
    ),
    renamed(
        "experimental-distributed-tracing-instance-id",
        Text,
        "distributed-tracing-instance-id",
    ),
    renamed(
        "experimental-distributed-tracing-sampling-rate",
        Int,
        "distributed-tracing-sampling-rate",
    ),
    renamed("experimental-corrupt-check-time", Duration, "corrupt-check-time"),
    renamed("experimental-compact-hash-check-time", Duration, "compact-hash-check-time"),
    renamed("experimental-compaction-batch-limit", Int, "compaction-batch-limit"),
    renamed("experimental-compaction-sleep-interval", Duration, "compaction-sleep-interval"),
    renamed(
        "experimental-watch-progress-notify-interval",
        Duration,
        "watch-progress-notify-interval",
    ),
    renamed("experimental-downgrade-check-time", Duration, "downgrade-check-time"),
    renamed("experimental-warning-apply-duration", Duration, "warning-apply-duration"),
    renamed(
        "experimental-warning-unary-request-duration",
        Duration,
        "warning-unary-request-duration",
    ),
    renamed("experimental-memory-mlock", Bool, "memory-mlock"),
    renamed(
        "experimental-bootstrap-defrag-threshold-megabytes",
        Uint,
        "bootstrap-defrag-threshold-megabytes",
    ),
    renamed("experimental-snapshot-catchup-entries", Uint, "snapshot-catchup-entries"),
    flag("experimental-initial-corrupt-check", Bool, "false", "Compare stores before serving"),
    flag("experimental-compact-hash-check-enabled", Bool, "false", "Compare after compactions")
        .ignored(NO_CHECK),
    flag(
        "experimental-enable-lease-checkpoint",
        Bool,
        "false",
        "Tell others what leases have left",
    )
    .ignored(LEASES),
    flag("experimental-enable-lease-checkpoint-persist", Bool, "false", "Keep what they have left")
        .ignored(LEASES),
    flag("experimental-txn-mode-write-with-shared-buffer", Bool, "true", "Share a buffer of bbolt")
        .ignored("the store is not bbolt"),
    flag("experimental-stop-grpc-service-on-defrag", Bool, "false", "Refuse while defragmenting")
        .ignored("defragmenting blocks nothing"),
    flag("cluster-active-size", Anything, "", "").ignored(ANCIENT),
    flag("cluster-remove-delay", Anything, "", "").ignored(ANCIENT),
    flag("cluster-sync-interval", Anything, "", "").ignored(ANCIENT),
    flag("config", Anything, "", "").ignored(ANCIENT),
    flag("force", Anything, "", "").ignored(ANCIENT),
    flag("max-result-buffer", Anything, "", "").ignored(ANCIENT),
    flag("max-retry-attempts", Anything, "", "").ignored(ANCIENT),
    flag("peer-heartbeat-interval", Anything, "", "").ignored(ANCIENT),
    flag("peer-election-timeout", Anything, "", "").ignored(ANCIENT),
    flag("retry-interval", Anything, "", "").ignored(ANCIENT),
    flag("snapshot", Anything, "", "").ignored(ANCIENT),
    flag("v", Anything, "", "").ignored(ANCIENT),
    flag("vv", Anything, "", "").ignored(ANCIENT),
    flag("test.coverprofile", Anything, "", "").ignored(ANCIENT),
    flag("test.outputdir", Anything, "", "").ignored(ANCIENT),
];

const NO_CHECK: &str =
    "members compare what they apply all the time: --corrupt-check-time makes an alarm of it";
const LEASES: &str = "what leases have left is in the log already";
const ANCIENT: &str = "it has had no meaning since etcd 2.0";
