//! The table beside etcd's own list, and where texts come from.

use std::collections::BTreeSet;

use super::*;

fn words(line: &[&str]) -> Vec<OsString> {
    line.iter().map(OsString::from).collect()
}

fn settings_with(line: &[&str], environment: &[(&str, &str)]) -> Result<Settings, FlagError> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let environment: Vec<_> = environment.iter().map(owned).collect();
    match read(&words(line), &environment)? {
        Asked::Serve(settings) => Ok(*settings),
        other => panic!("{other:?}"),
    }
}

fn settings(line: &[&str]) -> Result<Settings, FlagError> {
    settings_with(line, &[])
}

/// The settings of a file with this text.
fn file(text: &str) -> Result<Settings, FlagError> {
    let temp = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(temp.path(), text).unwrap();
    settings(&["--config-file", &temp.path().to_string_lossy()])
}

#[test]
fn every_flag_of_etcd_3_6_is_known_and_no_other() {
    let etcds: BTreeSet<&str> = include_str!("etcd-3.6.txt").lines().collect();
    let own = BTreeSet::from([
        "log-keep-bytes",
        "max-client-connections",
        "max-client-connections-per-host",
        "max-range-bytes",
        "max-range-request-bytes",
    ]);
    let known: BTreeSet<&str> = Flag::all().map(|flag| flag.name).collect();
    let missing: Vec<_> = etcds.difference(&known).filter(|name| **name != "version").collect();
    assert!(missing.is_empty(), "{missing:?}");
    let invented: Vec<_> = known.difference(&etcds).filter(|name| !own.contains(*name)).collect();
    assert!(invented.is_empty(), "{invented:?}");
    assert_eq!(known.len(), Flag::all().count(), "no flag twice");
}

#[test]
fn defaults_are_texts_that_their_flags_take() {
    for flag in Flag::all().filter(|flag| !matches!(flag.effect, Effect::Renamed(_))) {
        assert_eq!(value::check(flag.kind, flag.default), Ok(()), "{}", flag.name);
    }
}

#[test]
fn old_names_stand_for_flags_of_the_same_kind() {
    for flag in Flag::all() {
        if let Effect::Renamed(new) = flag.effect {
            assert_eq!(Flag::find(new).unwrap().kind, flag.kind, "{}", flag.name);
        }
    }
}

#[test]
fn one_dash_and_two_and_both_kinds_of_values() {
    for line in [
        &["-name", "a", "-auto-tls", "--heartbeat-interval=7"][..],
        &["--name=a", "--auto-tls=true", "-heartbeat-interval", "7"],
        &["--name=b", "--name=a", "--auto-tls=T", "--heartbeat-interval", "7"],
    ] {
        let settings = settings(line).unwrap();
        assert_eq!(settings.text("name"), "a");
        assert!(settings.bool("auto-tls"));
        assert_eq!(settings.uint("heartbeat-interval"), 7);
        assert_eq!(settings.warnings(), [] as [&str; 0]);
    }
    assert!(matches!(read(&words(&["-name=a", "-h"]), &[]), Ok(Asked::Help)));
    assert!(matches!(read(&words(&["-name=a", "--help"]), &[]), Ok(Asked::Help)));
    assert!(matches!(read(&words(&["--version"]), &[]), Ok(Asked::Version)));
    assert!(!settings(&["--pre-vote=false"]).unwrap().bool("pre-vote"));
}

#[test]
fn lines_are_refused_in_etcds_words() {
    let table: &[(&[&str], &str, bool)] = &[
        (&["--frobnicate=3"], "flag provided but not defined: -frobnicate", true),
        (&["-name"], "flag needs an argument: -name", true),
        (&["---name"], "bad flag syntax: ---name", true),
        (&["--=x"], "bad flag syntax: --=x", true),
        (&["foo"], "\"foo\" is not a valid flag", false),
        (&["--client-cert-auth", "false"], "\"false\" is not a valid flag", false),
        (
            &["--client-cert-auth=maybe"],
            "invalid boolean value \"maybe\" for -client-cert-auth: parse error",
            true,
        ),
        (
            &["--heartbeat-interval=abc"],
            "invalid value \"abc\" for flag -heartbeat-interval: parse error",
            true,
        ),
        (&["--max-txn-ops=-1"], "invalid value \"-1\" for flag -max-txn-ops: parse error", true),
        (
            &["--grpc-keepalive-interval=5"],
            "invalid value \"5\" for flag -grpc-keepalive-interval: parse error",
            true,
        ),
        (
            &["--initial-cluster-state=bad"],
            "invalid value \"bad\" for flag -initial-cluster-state: invalid value",
            true,
        ),
        (
            &["--listen-client-urls=http://x"],
            "invalid value \"http://x\" for flag -listen-client-urls: URL address does not have \
             the form \"host:port\": http://x",
            true,
        ),
        (
            &["--listen-peer-urls=ftp://x:1"],
            "invalid value \"ftp://x:1\" for flag -listen-peer-urls: URL scheme must be http, \
             https, unix, or unixs: ftp://x:1",
            true,
        ),
        (
            &["--listen-peer-urls=http://h:1/x"],
            "invalid value \"http://h:1/x\" for flag -listen-peer-urls: URL must not contain a \
             path: http://h:1/x",
            true,
        ),
        (
            &["--unsafe-no-fsync"],
            "--unsafe-no-fsync is refused: an acknowledged write that a power cut takes back is \
             no write: leave the flag out",
            false,
        ),
    ];
    for (line, expected, usage) in table {
        let error = settings(line).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.is_usage()), (*expected, *usage), "{line:?}");
    }
    settings(&["--unsafe-no-fsync=false", "--force-new-cluster=false"]).unwrap();
}

#[test]
fn flags_without_effect_are_warned_of_once() {
    let line = ["--snapshot-count=5", "--snapshot-count=7", "-test.outputdir=x", "-v"];
    let settings = settings(&line).unwrap();
    let about = |name: &str| settings.warnings().iter().filter(|text| text.contains(name)).count();
    assert_eq!((settings.warnings().len(), about("--snapshot-count is accepted")), (3, 1));
}

/// Tools wait for these words of etcd 3.6.
#[test]
fn what_etcd_gives_up_is_told_in_its_words() {
    let table = [
        ("--max-snapshots=9", "--max-snapshots is deprecated in 3.6 and will be decommissioned"),
        ("--max-wals=9", "--max-wals is deprecated in 3.6 and will be decommissioned in 3.8"),
        ("--v2-deprecation=gone", "--v2-deprecation is deprecated and scheduled for removal in"),
        ("--bootstrap-defrag-threshold-megabytes=9", "Skipping defragmentation"),
        ("--experimental-bootstrap-defrag-threshold-megabytes=9", "Skipping defragmentation"),
    ];
    for (word, expected) in table {
        let given = settings(&[word]).unwrap();
        let [warning] = given.warnings() else { panic!("{word}: {:?}", given.warnings()) };
        assert!(warning.contains(expected), "{warning}");
    }
    assert_eq!(settings(&[]).unwrap().text("log-format"), "json", "etcd's default");
}

#[test]
fn old_names_count_and_are_warned_of() {
    let old = "--experimental-watch-progress-notify-interval=3s";
    let given = settings(&[old]).unwrap();
    assert_eq!(given.duration("watch-progress-notify-interval").as_secs(), 3);
    assert!(given.warnings()[0].contains("Use '--watch-progress-notify-interval' instead."));
    let both = settings(&[old, "--watch-progress-notify-interval=4s"]).unwrap_err().to_string();
    assert!(both.starts_with("cannot set --experimental-watch-progress"), "{both}");
}

#[test]
fn the_environment_fills_what_the_line_leaves() {
    let given = settings_with(
        &["--data-dir=d"],
        &[("ETCD_NAME", "a"), ("SYNOD_AUTO_TLS", "1"), ("ETCD_WHO", "x"), ("ETCD_CORS", "")],
    )
    .unwrap();
    assert_eq!((given.text("name"), given.text("data-dir")), ("a", "d"));
    assert!(given.bool("auto-tls") && !given.is_set("cors"));
    assert_eq!(given.warnings(), ["unrecognized environment variable ETCD_WHO"]);

    let table: [(&[(&str, &str)], &str); 3] = [
        (&[("ETCD_DATA_DIR", "e")], "conflicting environment variable \"ETCD_DATA_DIR\" is shadow"),
        (&[("ETCD_NAME", "a"), ("SYNOD_NAME", "b")], "ETCD_NAME and SYNOD_NAME differ"),
        (
            &[("ETCD_HEARTBEAT_INTERVAL", "x")],
            "invalid value \"x\" for ETCD_HEARTBEAT_INTERVAL: parse error",
        ),
    ];
    for (environment, expected) in table {
        let error = settings_with(&["--data-dir=d"], environment).unwrap_err();
        assert!(error.to_string().starts_with(expected) && !error.is_usage(), "{error}");
    }
}

#[test]
fn what_was_given_makes_one_line_without_secrets() {
    let line = ["--name=a", "--pre-vote", "--discovery-password=x", "--experimental-memory-mlock"];
    let settings = settings_with(&line, &[("ETCD_MAX_REQUEST_BYTES", "9")]).unwrap();
    let told = "--discovery-password=*** --max-request-bytes=9 --memory-mlock=true --name=a \
                --pre-vote=true";
    assert_eq!(settings.line(), told);
}

#[test]
fn a_file_counts_alone() {
    let text = "name: m1\nheartbeat-interval: 50\nauto-compaction-retention: 5m\n\
                grpc-keepalive-timeout: 3000000000\nwarning-apply-duration: 1s\nbogus: 1\n\
                listen-client-urls: http://127.0.0.1:1,http://127.0.0.1:2\n\
                log-outputs: [stderr, /tmp/x]\nlog-level: debug\nlogger:\n\
                client-transport-security:\n  cert-file: c\n  client-cert-auth: true\n\
                \x20 allowed-hostname: [h]\n\
                peer-transport-security:\n  trusted-ca-file: p\n  allowed-cn: [x, y]\n\
                socket-options:\n  reuse-port: true\n";
    let temp = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(temp.path(), text).unwrap();
    let path = temp.path().to_string_lossy();
    let given = settings_with(&["--name=line"], &[("ETCD_CONFIG_FILE", &path), ("ETCD_CORS", "x")]);
    let given = given.unwrap();
    assert_eq!(given.text("name"), "m1");
    assert_eq!(given.uint("heartbeat-interval"), 50);
    assert_eq!(given.duration("grpc-keepalive-timeout").as_secs(), 3);
    assert_eq!(given.duration("warning-apply-duration").as_secs(), 1);
    assert_eq!(given.urls("listen-client-urls").len(), 2);
    assert_eq!(given.words("log-outputs"), ["stderr", "/tmp/x"]);
    assert_eq!((given.text("cert-file"), given.text("peer-trusted-ca-file")), ("c", "p"));
    assert_eq!(given.words("client-cert-allowed-hostname"), ["h"]);
    assert_eq!(given.words("peer-cert-allowed-cn"), ["x", "y"]);
    assert!(given.bool("client-cert-auth") && given.bool("socket-reuse-port"));
    assert_eq!(given.text("cors"), "*");
    let warned = given.warnings().join("\n");
    assert!(
        warned.contains("bogus is not known") && warned.contains("will be ignored"),
        "{warned}"
    );
}

#[test]
fn files_are_refused_with_their_key() {
    let missing = settings(&["--config-file=/nope"]).unwrap_err().to_string();
    assert!(missing.starts_with("open /nope: No such file"), "{missing}");
    let table = [
        ("heartbeat-interval: abc", "cannot unmarshal string into a value of type uint"),
        ("heartbeat-interval: \"100\"", "cannot unmarshal string into a value of type uint"),
        ("heartbeat-interval: -1", "heartbeat-interval: parse error"),
        ("strict-reconfig-check: 1", "cannot unmarshal number into a value of type bool"),
        ("name: [a]", "name: cannot unmarshal array into a value of type string"),
        ("peer-transport-security: x", "peer-transport-security: cannot unmarshal string"),
        ("client-transport-security:\n  client-cert-auth: no!", "security: client-cert-auth: can"),
        ("- name", "it is not a mapping"),
        ("name: \"a", "while"),
        ("listen-peer-urls: ftp://x:1", "URL scheme must be"),
    ];
    for (text, expected) in table {
        let error = file(text).unwrap_err();
        assert!(error.to_string().contains(expected) && !error.is_usage(), "{text}: {error}");
    }
    assert_eq!(file("").unwrap().text("name"), "default");
}

#[test]
fn the_help_has_every_flag_once() {
    let text = help();
    for flag in Flag::all() {
        let line = format!("  --{} '", flag.name);
        assert_eq!(text.matches(&line).count(), 1, "{}", flag.name);
    }
}

#[test]
fn gates_that_are_not_here_are_named_and_do_nothing() {
    let settings = settings(&["--feature-gates=InitialCorruptCheck=true,LeaseCheckpoint=true"]);
    let settings = settings.unwrap();
    let [warning] = settings.warnings() else { panic!("{:?}", settings.warnings()) };
    assert!(warning.contains("--feature-gates=LeaseCheckpoint=true is accepted"), "{warning}");
}
