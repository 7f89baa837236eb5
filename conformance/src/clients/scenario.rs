//! What `etcdctl` is asked to do, as data: `scenarios.txt`, and how it is read.
//!
//! ```text
//! # a key is watched                 a scenario begins; this is its name
//! ; why                              a comment
//! @ 2                                the member that is asked from here on; `@ all` names each
//! $ put k 1                          runs, and is compared whole
//! $# move-leader {FOLLOWER}          the same without its numbers
//! $~ check perf                      only that it came to a result is compared
//! w& watch k --rev={rev-1}           starts beside the others, under the name w
//! w< progress                        a line of its input
//! w: PUT                             waits until it prints this, after what was waited for before
//! w. INT                             ends it by a signal; its whole output is compared
//! w. END                             waits until it ends by itself
//! %                                  remembers the store's revision as {then}
//! ```
//!
//! `{rev}`, `{rev-N}` stand for the store's revision, `{id1}` for the first long number that was
//! printed (a lease), `{FOLDER}` for a folder of the scenario, `{ALL}` for all endpoints,
//! `{MEMBER}` for the asked one, `{LEADER}` for the one that leads and `{FOLLOWER}` for the id of
//! one that does not.

use anyhow::{Context, bail, ensure};

use crate::commands::words;

/// Some commands in order, whose answers are compared as one text.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What is done.
    pub steps: Vec<Step>,
}

/// One line of a scenario.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Asks this member from here on, or all at once.
    Ask(Option<usize>),
    /// Runs a command to its end.
    Run(Vec<String>, Shown),
    /// Starts a command beside the others.
    Start(String, Vec<String>),
    /// Gives a line to a command that runs.
    Feed(String, String),
    /// Waits for a text.
    Await(String, String),
    /// Remembers the store's revision.
    Remember,
    /// Ends a command, or waits for its end.
    End(String, Ending),
}

/// How much of an answer is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    /// All of it.
    Whole,
    /// All but numbers.
    WithoutNumbers,
    /// That there was a result.
    Checks,
}

/// How a command ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// By SIGINT.
    Interrupt,
    /// By itself.
    Itself,
}

/// Reads a list of scenarios.
pub fn parse(text: &str) -> anyhow::Result<Vec<Scenario>> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with(';') {
            continue;
        }
        if let Some(name) = line.strip_prefix("# ") {
            let name = name.trim().to_owned();
            let is_new = scenarios.iter().all(|scenario| scenario.name != name);
            ensure!(is_new, "line {}: a second scenario of this name: {name}", at + 1);
            scenarios.push(Scenario { name, steps: Vec::new() });
            continue;
        }
        let step = step(line).with_context(|| format!("line {}: {line}", at + 1))?;
        scenarios.last_mut().context("a step before the first scenario")?.steps.push(step);
    }
    Ok(scenarios)
}

fn step(line: &str) -> anyhow::Result<Step> {
    let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
    match mark {
        "@" if rest == "all" => return Ok(Step::Ask(None)),
        "@" => {
            let at = rest.parse::<usize>()?.checked_sub(1).context("members are counted from 1")?;
            return Ok(Step::Ask(Some(at)));
        }
        "%" => return Ok(Step::Remember),
        "$" => return Ok(Step::Run(words(rest)?, Shown::Whole)),
        "$#" => return Ok(Step::Run(words(rest)?, Shown::WithoutNumbers)),
        "$~" => return Ok(Step::Run(words(rest)?, Shown::Checks)),
        _ => {}
    }
    let Some((at, kind)) = mark.char_indices().next_back() else { bail!("no step") };
    let name = mark[..at].to_owned();
    ensure!(!name.is_empty(), "a step without the name of its command");
    Ok(match kind {
        '&' => Step::Start(name, words(rest)?),
        '<' => Step::Feed(name, rest.to_owned()),
        ':' => Step::Await(name, rest.to_owned()),
        '.' if rest == "INT" => Step::End(name, Ending::Interrupt),
        '.' if rest == "END" => Step::End(name, Ending::Itself),
        _ => bail!("no such step"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_becomes_scenarios() {
        let text = "# watch\n; why\n@ 2\nw& watch \"a b\"\nw: PUT\nw< x y\nw. INT\n$# get a\n";
        let scenarios = parse(text).unwrap();
        let word = |text: &str| text.to_owned();
        let expected = [
            Step::Ask(Some(1)),
            Step::Start(word("w"), vec![word("watch"), word("a b")]),
            Step::Await(word("w"), word("PUT")),
            Step::Feed(word("w"), word("x y")),
            Step::End(word("w"), Ending::Interrupt),
            Step::Run(vec![word("get"), word("a")], Shown::WithoutNumbers),
        ];
        assert_eq!(scenarios[0].steps, expected);
    }

    #[test]
    fn mistakes_in_a_list_are_refused() {
        for wrong in ["$ put", "# a\n& watch", "# a\nw? x", "# a\n@ 0", "# a\nw. KILL", "# a\n# a"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_list_is_well_formed() {
        let scenarios = parse(include_str!("../../scenarios.txt")).unwrap();
        assert!(scenarios.len() >= 40, "{} scenarios", scenarios.len());
        assert!(scenarios.iter().all(|scenario| !scenario.steps.is_empty()));
    }
}
