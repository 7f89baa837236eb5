//! Users, metrics, logs, traces.

use crate::flags::Kind::{Bool, Choice, Duration, Int, Text, Uint, Urls, Words};
use crate::flags::{Flag, flag};

pub(super) const AUTH: &[Flag] = &[
    flag(
        "auth-token",
        Text,
        "simple",
        "Kind of token and its options: simple, or jwt,NAME=VALUE,…",
    ),
    flag("bcrypt-cost", Uint, "10", "Cost of hashing a password, 4 to 31"),
    flag("auth-token-ttl", Uint, "300", "Seconds that a simple token lives without use"),
];

pub(super) const MONITORING: &[Flag] = &[
    flag("enable-pprof", Bool, "false", "Serve Go's profiles")
        .ignored("there is no Go runtime to profile: use perf"),
    flag("metrics", Choice(&["basic", "extensive"]), "basic", "How many metrics to serve"),
    flag("listen-metrics-urls", Urls, "", "URLs to listen on for /metrics and /health alone"),
];

pub(super) const LOGGING: &[Flag] = &[
    flag("logger", Choice(&["zap"]), "zap", "Whose format the log has"),
    flag("log-outputs", Words, "default", "Where to log: stdout, stderr (default) or files"),
    flag("log-level", Text, "info", "What to log: debug, info, warn, error, panic or fatal"),
    flag("log-format", Choice(&["json", "console", "text"]), "json", "How to log"),
    flag("enable-log-rotation", Bool, "false", "Begin new log files").ignored(NO_ROTATION),
    flag("log-rotation-config-json", Text, "", "When to begin them").ignored(NO_ROTATION),
    flag("warning-unary-request-duration", Duration, "300ms", "Warn of requests that take longer"),
];

pub(super) const TRACING: &[Flag] = &[
    flag("enable-distributed-tracing", Bool, "false", "Send traces").ignored(NO_TRACES),
    flag("distributed-tracing-address", Text, "localhost:4317", "Where to").ignored(NO_TRACES),
    flag("distributed-tracing-service-name", Text, "etcd", "As which service").ignored(NO_TRACES),
    flag("distributed-tracing-instance-id", Text, "", "As which instance").ignored(NO_TRACES),
    flag("distributed-tracing-sampling-rate", Int, "0", "How many of a million").ignored(NO_TRACES),
];

const NO_ROTATION: &str = "log files are not rotated here: use logrotate with copytruncate";
const NO_TRACES: &str = "traces are not built";
