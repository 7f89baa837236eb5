//! Debian's `etcdctl`, run once per command.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

/// What a command answered.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answer {
    /// What it printed.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
    /// Its exit code.
    pub code: i32,
}

/// Runs `etcdctl` against one endpoint, which answers within ten seconds or is given up.
pub fn run(
    etcdctl: &Path,
    endpoint: &str,
    arguments: &[String],
    stdin: &str,
) -> anyhow::Result<Answer> {
    let mut child = Command::new(etcdctl)
        .env("ETCDCTL_API", "3")
        .args([format!("--endpoints={endpoint}"), "--command-timeout=10s".to_owned()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", etcdctl.display()))?;
    let mut input = child.stdin.take().context("the child's input is piped")?;
    // A command that does not read its input closes it early; that is its right.
    let _ = input.write_all(stdin.as_bytes());
    drop(input);
    let output = child.wait_with_output()?;
    Ok(Answer {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code().unwrap_or(-1),
    })
}
