//! The outcomes of a runner that prints one JSON object per test.
//!
//! `{"test": "name", "outcome": "passed" | "skipped" | "failed", "text": "…"}`; our hooks in the
//! runners of Python and Node print them, other lines are the runner's own.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::report::{Outcome, Outcomes};

/// Runs a test runner and gives what it printed. One that does not come to its end is ended, which
/// is an outcome of its own.
pub async fn run(
    mut command: Command,
    at_most: Duration,
    outcomes: impl Fn(&str) -> anyhow::Result<Outcomes>,
) -> anyhow::Result<Outcomes> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("starting the tests")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let stdout = tokio::spawn(all(stdout.context("its output is piped")?));
    let stderr = tokio::spawn(all(stderr.context("its output is piped")?));
    let ended = tokio::time::timeout(at_most, child.wait()).await.ok().transpose()?;
    if ended.is_none() {
        child.kill().await?;
    }
    let text = stdout.await?;
    let mut found = outcomes(&text)?;
    if ended.is_some_and(|status| !status.success()) {
        ensure!(!found.is_empty(), "no test ran: {text}{}", stderr.await?);
    }
    if ended.is_none() {
        let last = text.lines().next_back().unwrap_or_default();
        let why = format!("the tests still run after {at_most:?}; the last line: {last}");
        found.insert("comes to its end".to_owned(), Outcome::Failed(why));
    }
    Ok(found)
}

/// All of a stream as text, even if it is cut off.
async fn all(mut from: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    // What was read until a fault counts.
    let _ = from.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads the outcomes among the lines. A test that is told twice keeps its worse outcome.
pub fn outcomes(text: &str) -> anyhow::Result<Outcomes> {
    let mut outcomes = Outcomes::new();
    for line in text.lines().filter(|line| line.starts_with("{\"test\":")) {
        let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let outcome = match field("outcome").as_str() {
            "passed" => Outcome::Passed,
            "skipped" => Outcome::Skipped,
            _ => Outcome::Failed(field("text")),
        };
        let known = outcomes.entry(field("test")).or_insert_with(|| outcome.clone());
        if matches!(known, Outcome::Passed) {
            *known = outcome;
        }
    }
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_outcome_of_a_test_stays() {
        let text = "collected 2\n{\"test\":\"a\",\"outcome\":\"passed\"}\n\
            {\"test\":\"a\",\"outcome\":\"failed\",\"text\":\"late\"}\n\
            {\"test\":\"a\",\"outcome\":\"passed\"}\n";
        let outcomes = outcomes(text).unwrap();
        assert_eq!(outcomes["a"], Outcome::Failed("late".to_owned()));
    }
}
