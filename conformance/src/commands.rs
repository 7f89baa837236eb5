//! The list of `etcdctl` commands as data: `commands.txt`, and how it is read.
//!
//! ```text
//! # a heading, shown in the report
//! > put k 1                a command that prepares; not repeated in every format by itself
//! get k --rev={rev-1}      the command that is compared, in every format
//! | put k 2                a line of its standard input
//! |@ puts 129              129 lines that each put another key
//! |@ repeat x 1600000      as many times x, without a line's end
//! ```
//!
//! `{rev}`, `{rev-N}` and `{rev+N}` stand for the store's revision at that moment. Words are split
//! at spaces; double quotes group, and hold `\n`, `\t`, `\\`, `\"` and `\xNN`.

use anyhow::{Context, bail, ensure};

/// One line to run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Line {
    /// The arguments, with `{rev}` still in them.
    pub words: Vec<String>,
    /// What it reads.
    pub stdin: String,
}

/// A command to compare, after what prepares it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Case {
    /// The heading it stands under.
    pub heading: String,
    /// What is run before it.
    pub before: Vec<Line>,
    /// The command itself.
    pub line: Line,
}

impl Line {
    /// The line as in the list, for reports.
    #[must_use]
    pub fn text(&self) -> String {
        let quoted = |word: &String| {
            if word.is_empty() || word.contains(' ') { format!("{word:?}") } else { word.clone() }
        };
        self.words.iter().map(quoted).collect::<Vec<_>>().join(" ")
    }

    /// Whether it speaks of the store's revision.
    #[must_use]
    pub fn needs_revision(&self) -> bool {
        self.words.iter().any(|word| word.contains("{rev")) || self.stdin.contains("{rev")
    }

    /// The line at the store's `revision`.
    pub fn at(&self, revision: i64) -> anyhow::Result<Self> {
        let words = self.words.iter().map(|word| substitute(word, revision));
        Ok(Self {
            words: words.collect::<Result<_, _>>()?,
            stdin: substitute(&self.stdin, revision)?,
        })
    }
}

/// Reads a list.
pub fn parse(text: &str) -> anyhow::Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    let mut heading = String::new();
    let mut before: Vec<Line> = Vec::new();
    let mut last_prepares = false;
    for (at, line) in text.lines().enumerate() {
        let context = || format!("line {}: {line}", at + 1);
        if let Some(rest) = line.strip_prefix('|') {
            let target = if last_prepares {
                before.last_mut()
            } else {
                cases.last_mut().map(|case| &mut case.line)
            };
            let target = target.with_context(context)?;
            target.stdin.push_str(&input(rest).with_context(context)?);
        } else if let Some(rest) = line.strip_prefix('#') {
            rest.trim().clone_into(&mut heading);
        } else if let Some(rest) = line.strip_prefix('>') {
            before.push(Line { words: words(rest)?, stdin: String::new() });
            last_prepares = true;
        } else if !line.trim().is_empty() {
            let line = Line { words: words(line).with_context(context)?, stdin: String::new() };
            let before = std::mem::take(&mut before);
            cases.push(Case { heading: heading.clone(), before, line });
            last_prepares = false;
        }
    }
    ensure!(before.is_empty(), "the list ends with a command that prepares nothing");
    Ok(cases)
}

fn input(rest: &str) -> anyhow::Result<String> {
    let Some(directive) = rest.strip_prefix('@') else {
        return Ok(format!("{}\n", rest.strip_prefix(' ').unwrap_or(rest)));
    };
    match directive.split_whitespace().collect::<Vec<_>>()[..] {
        ["puts", count] => Ok((0..count.parse::<usize>()?)
            .fold(String::new(), |text, at| text + &format!("put many/{at:03} v\n"))),
        ["repeat", what, count] => Ok(what.repeat(count.parse()?)),
        _ => bail!("there is no directive {directive:?}"),
    }
}

/// Splits a line into words, as a list of commands does.
pub fn words(line: &str) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = line.trim().chars().peekable();
    while chars.peek().is_some() {
        let (mut word, mut quoted) = (String::new(), false);
        while let Some(c) = chars.next() {
            match c {
                '"' => quoted = !quoted,
                '\\' if quoted => word.push(escaped(&mut chars)?),
                c if c.is_whitespace() && !quoted => break,
                c => word.push(c),
            }
        }
        ensure!(!quoted, "a quote is not closed");
        words.push(word);
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
    }
    Ok(words)
}

fn escaped(chars: &mut impl Iterator<Item = char>) -> anyhow::Result<char> {
    match chars.next() {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some(c @ ('\\' | '"')) => Ok(c),
        Some('x') => {
            let digits: String = chars.take(2).collect();
            let number = u8::from_str_radix(&digits, 16)?;
            ensure!(number.is_ascii() && number != 0, "\\x{digits} cannot stand in an argument");
            Ok(char::from(number))
        }
        other => bail!("no escape {other:?}"),
    }
}

/// Puts the store's revision where `{rev}` stands.
pub fn substitute(text: &str, revision: i64) -> anyhow::Result<String> {
    let mut pieces = text.split("{rev");
    let mut result = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (offset, rest) = piece.split_once('}').context("{rev without a closing brace")?;
        let offset: i64 = if offset.is_empty() { 0 } else { offset.parse()? };
        result.push_str(&(revision + offset).to_string());
        result.push_str(rest);
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_becomes_cases() {
        let text =
            "# puts\n\n> put a 1\nput \"a b\" \"\" --rev={rev-1}\n| x {rev}\n|@ repeat y 3\n";
        let cases = parse(text).unwrap();
        assert_eq!(cases.len(), 1);
        let Case { heading, before, line } = &cases[0];
        assert_eq!(heading, "puts");
        assert_eq!(before[0].words, ["put", "a", "1"]);
        let line = line.at(7).unwrap();
        assert_eq!(line.words, ["put", "a b", "", "--rev=6"]);
        assert_eq!(line.stdin, "x 7\nyyy");
        assert_eq!(line.text(), "put \"a b\" \"\" --rev=6");
    }

    #[test]
    fn mistakes_in_a_list_are_refused() {
        for wrong in ["> put a", "put \"a", "| x", "put a\n|@ jump 3", "put \"\\q\""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_list_is_long_enough() {
        let cases = parse(include_str!("../commands.txt")).unwrap();
        assert!(cases.len() >= 150, "{} commands", cases.len());
    }
}
