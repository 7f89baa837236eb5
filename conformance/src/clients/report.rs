//! What the suites found, beside what is known, as a table and an exit code.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, ensure};

/// What one test of a client gave with both servers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Test {
    /// Its name, unique in its suite.
    pub name: String,
    /// How the two compare.
    pub verdict: Verdict,
}

/// How the outcomes of a test with both servers compare.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It passes with both, or says the same.
    Same,
    /// It fails with etcd too, for this reason: it says nothing about Synod.
    BrokenUpstream(String),
    /// The outcomes differ.
    Differs {
        /// What it gave with etcd.
        etcd: String,
        /// What it gave with Synod.
        synod: String,
    },
}

/// How a test ended with one server, as its own runner tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It was left out, by its own rule.
    Skipped,
    /// It failed, saying this.
    Failed(String),
}

/// The outcomes of a client's own tests with one server, by name.
pub type Outcomes = BTreeMap<String, Outcome>;

impl Outcome {
    fn text(outcome: Option<&Self>) -> String {
        match outcome {
            Some(Self::Passed) => "passed".to_owned(),
            Some(Self::Skipped) => "skipped".to_owned(),
            Some(Self::Failed(text)) => format!("failed: {text}"),
            None => "did not run".to_owned(),
        }
    }
}

/// Sets the outcomes with both servers side by side.
#[must_use]
pub fn side_by_side(etcd: &Outcomes, synod: &Outcomes) -> Vec<Test> {
    let mut names: Vec<&String> = etcd.keys().chain(synod.keys()).collect();
    names.sort();
    names.dedup();
    let tests = names.into_iter().filter_map(|name| {
        let verdict = match (etcd.get(name), synod.get(name)) {
            (Some(Outcome::Skipped), Some(Outcome::Skipped)) => return None,
            (Some(Outcome::Passed), Some(Outcome::Passed)) => Verdict::Same,
            (Some(Outcome::Failed(text)), Some(Outcome::Failed(_))) => {
                Verdict::BrokenUpstream(text.clone())
            }
            (etcd, synod) => {
                Verdict::Differs { etcd: Outcome::text(etcd), synod: Outcome::text(synod) }
            }
        };
        Some(Test { name: name.clone(), verdict })
    });
    tests.collect()
}

/// The differences that are known, each with its reason.
#[derive(Clone, Debug, Default)]
pub struct Known {
    reasons: BTreeMap<(String, String), String>,
}

impl Known {
    /// Reads a list: `suite | test | reason` on each line that is no comment.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut reasons = BTreeMap::new();
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let parts: Vec<&str> = line.splitn(3, " | ").map(str::trim).collect();
            let [suite, test, reason] = parts[..] else {
                anyhow::bail!("not `suite | test | reason`: {line}");
            };
            ensure!(!reason.is_empty(), "a difference without a reason: {line}");
            let key = (suite.to_owned(), test.to_owned());
            ensure!(reasons.insert(key, reason.to_owned()).is_none(), "listed twice: {line}");
        }
        Ok(Self { reasons })
    }

    fn reason(&self, suite: &str, test: &str) -> Option<&str> {
        self.reasons.get(&(suite.to_owned(), test.to_owned())).map(String::as_str)
    }

    fn of_suite<'a>(&'a self, suite: &'a str) -> impl Iterator<Item = &'a str> {
        self.reasons.keys().filter(move |(of, _)| of == suite).map(|(_, test)| test.as_str())
    }
}

/// One line of the table.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Row {
    suite: String,
    tests: usize,
    same: usize,
    broken: usize,
    known: usize,
    differ: usize,
    seconds: u64,
}

/// All that the suites found.
#[derive(Debug)]
pub struct Report {
    known: Known,
    rows: Vec<Row>,
}

impl Report {
    /// An empty report.
    #[must_use]
    pub const fn new(known: Known) -> Self {
        Self { known, rows: Vec::new() }
    }

    /// Takes a suite's findings, and tells about each that is not the same with both.
    pub fn add(&mut self, suite: &str, tests: &[Test], took: Duration) -> String {
        let mut row = Row { suite: suite.to_owned(), seconds: took.as_secs(), ..Row::default() };
        let mut text = String::new();
        for Test { name, verdict } in tests {
            row.tests += 1;
            let reason = self.known.reason(suite, name);
            match (verdict, reason) {
                (Verdict::Same, None) => row.same += 1,
                (Verdict::Same, Some(reason)) => {
                    row.same += 1;
                    say(&mut text, &format!("no longer differs: {suite}: {name} ({reason})"));
                }
                (Verdict::BrokenUpstream(why), _) => {
                    row.broken += 1;
                    let last = why.lines().rfind(|line| !line.starts_with("note: "));
                    let last = last.unwrap_or_default();
                    say(&mut text, &format!("broken upstream: {suite}: {name}: {last}"));
                }
                (Verdict::Differs { .. }, Some(reason)) => {
                    row.known += 1;
                    say(&mut text, &format!("known: {suite}: {name}: {reason}"));
                }
                (Verdict::Differs { etcd, synod }, None) => {
                    row.differ += 1;
                    say(&mut text, &format!("DIFFERS: {suite}: {name}"));
                    say(&mut text, &difference(etcd, synod));
                }
            }
        }
        for gone in self.known.of_suite(suite).filter(|known| is_absent(tests, known)) {
            say(&mut text, &format!("did not run, though listed as known: {suite}: {gone}"));
        }
        self.rows.push(row);
        text
    }

    /// A suite that could not be run at all counts as a difference.
    pub fn add_failure(&mut self, suite: &str, error: &anyhow::Error, took: Duration) -> String {
        let seconds = took.as_secs();
        self.rows.push(Row {
            suite: suite.to_owned(),
            tests: 1,
            differ: 1,
            seconds,
            ..Row::default()
        });
        format!("FAILED: {suite}: {error:#}\n")
    }

    /// Whether nothing differs that is not known.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.differ == 0)
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> String {
        let head = ["suite", "tests", "as etcd", "broken", "known", "DIFFER", "seconds"];
        let rows = self.rows.iter().map(|row| {
            let counts = [row.tests, row.same, row.broken, row.known, row.differ];
            let counts = counts.into_iter().map(|count| count.to_string());
            let mut cells = vec![row.suite.clone()];
            cells.extend(counts);
            cells.push(row.seconds.to_string());
            cells
        });
        let head = head.map(str::to_owned).to_vec();
        let lines = std::iter::once(head).chain(rows).map(|cells| {
            let rest = cells[1..].iter().map(|cell| format!("{cell:>8}"));
            format!("{:<10}{}\n", cells[0], rest.collect::<String>())
        });
        lines.collect()
    }
}

/// Tells in a few lines where two texts part: each command whose answers differ, or the lines.
fn difference(etcd: &str, synod: &str) -> String {
    const BLOCKS_MAX: usize = 12;
    let (one, other) = (blocks(etcd), blocks(synod));
    if one.len() != other.len() {
        return beside(etcd, synod);
    }
    let pairs = one.iter().zip(&other).filter(|(one, other)| one != other);
    let texts = pairs.take(BLOCKS_MAX).map(|(one, other)| beside(one, other));
    texts.collect::<Vec<_>>().join("\n")
}

/// A scenario's text cut before each command.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        if line.starts_with("$ ") {
            blocks.push(String::new());
        }
        if let Some(block) = blocks.last_mut() {
            say(block, line);
        }
    }
    blocks
}

/// Two texts from the line in which they part.
fn beside(etcd: &str, synod: &str) -> String {
    const LINES_MAX: usize = 12;
    let (etcd, synod): (Vec<&str>, Vec<&str>) = (etcd.lines().collect(), synod.lines().collect());
    let same = etcd.iter().zip(&synod).take_while(|(one, other)| one == other).count();
    let from = same.saturating_sub(2);
    let mut text = String::new();
    for line in &etcd[from..same] {
        say(&mut text, &format!("          {line}"));
    }
    for (name, lines) in [("etcd ", &etcd[same..]), ("synod", &synod[same..])] {
        for line in lines.iter().take(LINES_MAX) {
            say(&mut text, &format!("  {name} | {line}"));
        }
        if lines.len() > LINES_MAX {
            say(&mut text, &format!("  {name} | … {} lines more", lines.len() - LINES_MAX));
        }
    }
    text.trim_end().to_owned()
}

fn say(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

fn is_absent(tests: &[Test], name: &str) -> bool {
    !tests.iter().any(|test| test.name == name)
}

/// Reads the list of known differences that belongs to this crate.
pub fn known() -> anyhow::Result<Known> {
    Known::parse(include_str!("../../known-differences.txt")).context("known-differences.txt")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(list: &[(&str, Outcome)]) -> Outcomes {
        list.iter().map(|(name, outcome)| ((*name).to_owned(), outcome.clone())).collect()
    }

    fn failed() -> Outcome {
        Outcome::Failed("assert".to_owned())
    }

    #[test]
    fn only_a_difference_between_the_servers_counts() {
        let all = [("a", Outcome::Passed), ("b", failed()), ("c", Outcome::Passed)];
        let etcd = outcomes(&all);
        let synod = outcomes(&[("a", Outcome::Passed), ("b", failed()), ("c", failed())]);
        let tests = side_by_side(&etcd, &synod);
        let mut report = Report::new(Known::default());
        let text = report.add("python", &tests, Duration::ZERO);
        assert!(text.contains("broken upstream: python: b: assert"), "{text}");
        assert!(text.contains("DIFFERS: python: c"), "{text}");
        assert!(!report.passed());
    }

    #[test]
    fn a_known_difference_passes_and_a_test_that_did_not_run_does_not() {
        let etcd = outcomes(&[("a", Outcome::Passed), ("b", Outcome::Passed)]);
        let synod = outcomes(&[("a", failed())]);
        let tests = side_by_side(&etcd, &synod);
        let known = Known::parse("# why\npython | a | another engine\n").unwrap();
        let mut report = Report::new(known.clone());
        report.add("python", &tests[..1], Duration::ZERO);
        assert!(report.passed());
        let text = report.add("python", &tests, Duration::ZERO);
        assert!(text.contains("did not run") && !report.passed(), "{text}");
        let mut stale = Report::new(known);
        let text = stale.add("python", &side_by_side(&etcd, &etcd), Duration::ZERO);
        assert!(text.contains("no longer differs: python: a") && stale.passed(), "{text}");
    }

    #[test]
    fn the_list_of_known_differences_is_well_formed() {
        known().unwrap();
        assert!(Known::parse("python | a\n").is_err());
        assert!(Known::parse("python | a | x\npython | a | y\n").is_err());
    }
}
