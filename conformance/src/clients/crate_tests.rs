//! The crate `etcd-client`, run through the tests of its own that are published with it.
//!
//! Its tests speak to `localhost:2379`, a constant. In the copy that is built here it is another
//! one, and nothing else is changed. They are built once; then the constant is replaced in a copy
//! of the built programs for each server, by one as long.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::lines;
use super::machine::{Machine, run as run_command};
use super::pair::{Programs, sources};
use super::report::{Outcome, Outcomes, Test, side_by_side};
use crate::cluster::Cluster;
use crate::process::bound_to_us;

const NAME: &str = "etcd-client";
const VERSION: &str = "0.21.1";

/// What its tests expect of the server, as its own instructions say.
const FLAGS: &[&str] = &["--auth-token-ttl=2"];

/// Moves the leader, during which etcd refuses what the other tests write.
const ALONE: &str = "test_move_leader";

/// The tests wait for tokens to run out, some thirty seconds in all.
const TESTS_MAX: Duration = Duration::from_secs(180);

/// Building the crate with all it depends on.
const BUILD_MAX: Duration = Duration::from_secs(400);

/// Runs the tests against both.
pub async fn run(machine: &Machine, programs: &Programs) -> anyhow::Result<Vec<Test>> {
    let protoc = protoc(machine).await?;
    let source = machine.crate_source(NAME, VERSION).await?;
    let pair = programs.start(FLAGS).await?;
    for cluster in [&pair.etcd, &pair.synod] {
        add_root(cluster, &programs.etcdctl).await;
    }
    let programs = build(machine, &source, &protoc).await?;
    let etcd = pointed_at(&programs, &pair.etcd).await?;
    let synod = pointed_at(&programs, &pair.synod).await?;
    let (etcd, synod) = tokio::try_join!(run_all(&etcd), run_all(&synod))?;
    Ok(side_by_side(&etcd, &synod))
}

/// A compiler of .proto files, which the crate's build calls; it comes with a Python package.
async fn protoc(machine: &Machine) -> anyhow::Result<PathBuf> {
    let python = machine.python("protoc", &sources().join("python/protoc.txt")).await?;
    let script = machine.cache().join("protoc/bin/protoc");
    let text = format!("#!/bin/sh\nexec {} -m grpc_tools.protoc \"$@\"\n", python.display());
    std::fs::write(&script, text)?;
    run_command(Command::new("chmod").arg("+x").arg(&script)).await?;
    Ok(script)
}

/// The user whom the tests expect. A server without users fails the tests that need it.
async fn add_root(cluster: &Cluster, etcdctl: &Path) {
    for words in ["user add root:rootpwd", "user grant-role root root"] {
        let mut command = Command::new(etcdctl);
        command.arg(format!("--endpoints={}", cluster.url(0))).args(words.split(' '));
        command.env("ETCDCTL_API", "3");
        let _ = run_command(&mut command).await;
    }
}

/// What stands for the endpoint in the programs that are built.
const PLACEHOLDER: &str = "127.0.0.1:00000";

/// Builds the tests and gives their programs, by name.
async fn build(
    machine: &Machine,
    source: &Path,
    protoc: &Path,
) -> anyhow::Result<Vec<(String, PathBuf)>> {
    set_endpoint(&source.join("tests/testing.rs"))?;
    // Other suites run beside it, and wait for clusters that are not to miss a heartbeat.
    let mut command = Command::new("nice");
    command
        .args(["-n", "10", "cargo", "test", "--no-run", "--tests", "--message-format=json"])
        .current_dir(source)
        .env("CARGO_TARGET_DIR", machine.cache().join("target"))
        .env("CARGO_PROFILE_TEST_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0")
        .env("PROTOC", protoc)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(BUILD_MAX, command.output())
        .await
        .with_context(|| format!("building {NAME} takes longer than {BUILD_MAX:?}"))??;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "building {NAME}: {complaint}");
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

/// Replaces the endpoint in the copied tests, once.
fn set_endpoint(file: &Path) -> anyhow::Result<()> {
    const BEGIN: &str = "DEFAULT_TEST_ENDPOINT: &str = \"";
    let text = std::fs::read_to_string(file)?;
    let (before, rest) = text.split_once(BEGIN).context("the tests name no endpoint")?;
    let (now, after) = rest.split_once('"').context("an endpoint without an end")?;
    if now != PLACEHOLDER {
        std::fs::write(file, format!("{before}{BEGIN}{PLACEHOLDER}\"{after}"))?;
    }
    Ok(())
}

/// Copies of the programs that speak to the leader of a cluster: one of the tests moves it, and
/// only itself does that.
async fn pointed_at(
    programs: &[(String, PathBuf)],
    cluster: &Cluster,
) -> anyhow::Result<Vec<PathBuf>> {
    let endpoint = cluster.url(cluster.leader().await?).replace("http://", "");
    ensure!(endpoint.len() == PLACEHOLDER.len(), "{endpoint} is not as long as {PLACEHOLDER}");
    let folder = cluster.folder().join("tests");
    std::fs::create_dir_all(&folder)?;
    let copied = programs.iter().map(|(name, program)| {
        let to = folder.join(name);
        std::fs::copy(program, &to)?;
        std::fs::write(&to, replaced(std::fs::read(program)?, PLACEHOLDER, &endpoint))?;
        Ok(to)
    });
    copied.collect()
}

/// The bytes with each `from` in them replaced by `to`, which is as long.
fn replaced(mut bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..at + from.len()) {
        if rest == from.as_bytes() {
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        }
        at += 1;
    }
    bytes
}

/// The test programs among cargo's messages, with their names.
fn executables(messages: &str) -> Vec<(String, PathBuf)> {
    let of = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_test = message["target"]["kind"][0] == "test";
        let name = message["target"]["name"].as_str().filter(|_| is_test)?;
        Some((name.to_owned(), PathBuf::from(message["executable"].as_str()?)))
    };
    messages.lines().filter_map(of).collect()
}

async fn run_all(programs: &[PathBuf]) -> anyhow::Result<Outcomes> {
    let mut all = Outcomes::new();
    for program in programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        for arguments in [["--test-threads=4", "--skip", ALONE], ["--test-threads=1", "--", ALONE]]
        {
            let mut command = Command::from(bound_to_us(program));
            command.args(arguments).env("RUST_BACKTRACE", "0");
            let outcomes = lines::run(command, TESTS_MAX, |text| Ok(outcomes(text))).await?;
            all.extend(outcomes.into_iter().map(|(test, how)| (format!("{name}::{test}"), how)));
        }
    }
    // One program of theirs holds no tests; all together have to.
    ensure!(!all.is_empty(), "no test ran");
    Ok(all)
}

/// Reads what a test program of Rust prints.
fn outcomes(text: &str) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for line in text.lines() {
        let Some((name, how)) =
            line.strip_prefix("test ").and_then(|line| line.split_once(" ... "))
        else {
            continue;
        };
        let outcome = match how {
            "ok" => Outcome::Passed,
            how if how.starts_with("ignored") => Outcome::Skipped,
            _ => Outcome::Failed(said(text, name)),
        };
        outcomes.insert(name.to_owned(), outcome);
    }
    outcomes
}

/// What a failed test said.
fn said(text: &str, name: &str) -> String {
    let begin = format!("---- {name} stdout ----\n");
    let rest = text.split_once(&begin).map_or("", |(_, rest)| rest);
    let end = rest.find("\n---- ").or_else(|| rest.find("\nfailures:")).unwrap_or(rest.len());
    rest[..end].trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_replaced_wherever_it_stands() {
        let bytes = replaced(b"a 1:0 b 1:0".to_vec(), "1:0", "2:3");
        assert_eq!(bytes, b"a 2:3 b 2:3");
    }

    #[test]
    fn outcomes_are_read_with_what_was_said() {
        let text = "running 3 tests\ntest a ... ok\ntest b ... ignored, requires etcd v3.7\n\
            test c ... FAILED\n\nfailures:\n\n---- c stdout ----\nError: no\n\nfailures:\n    c\n";
        let outcomes = outcomes(text);
        assert_eq!(outcomes["a"], Outcome::Passed);
        assert_eq!(outcomes["b"], Outcome::Skipped);
        assert_eq!(outcomes["c"], Outcome::Failed("Error: no".to_owned()));
    }
}
