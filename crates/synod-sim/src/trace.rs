//! What happened, as lines for people and as one number to compare runs by.
//!
//! Every event is folded into the hash; the last lines are kept for a report. Nothing is formatted
//! before somebody wants to read it.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};

use synod_paxos::{Ballot, Message};

use crate::queue::{Micros, SECOND};
use crate::random::mix;

/// Lines kept for a report.
const LINES_MAX: usize = 60;

/// One thing that happened.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Note {
    /// A message arrived.
    Arrives { from: usize, to: usize, message: Gist },
    /// A message was sent and will not arrive.
    Lost { from: usize, to: usize, message: Gist },
    /// A member's records up to this one are durable.
    Durable { member: usize, record: u64 },
    /// A member applied a slot.
    Applied { member: usize, slot: u64, commands: usize },
    /// Something the core tells.
    Core { member: usize, event: String },
    /// A client asks.
    Asks { client: usize, member: usize, request: String },
    /// A client has its answer.
    Answered { client: usize, answer: String },
    /// Something the schedule of faults does, or what comes of it.
    Fault { what: String },
}

/// A message in short.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Gist {
    name: &'static str,
    ballot: Option<Ballot>,
    slot: Option<u64>,
    size: usize,
}

impl Gist {
    /// The gist of a message.
    pub(crate) fn of(message: &Message) -> Self {
        let (ballot, slot, size) = match message {
            Message::Heartbeat(m) => (m.leader, Some(m.chosen.as_u64()), m.hears.len()),
            Message::Prepare(m) => (Some(m.ballot), Some(m.from.as_u64()), 0),
            Message::Promise(m) => (Some(m.ballot), Some(m.from.as_u64()), m.entries.len()),
            Message::Accept(m) => (Some(m.ballot), Some(m.slot.as_u64()), m.value.bytes()),
            Message::Accepted(m) => (Some(m.ballot), Some(m.slot.as_u64()), 0),
            Message::Nack(m) => (Some(m.promised), None, 0),
            Message::Chosen(m) => (Some(m.ballot), Some(m.chosen.as_u64()), 0),
            Message::CatchUp(m) => (None, Some(m.from.as_u64()), 0),
            Message::Learned(m) => (None, Some(m.from.as_u64()), m.values.len()),
            Message::Forward(m) => (Some(m.ballot), Some(m.sequence), m.commands.len()),
            Message::Read(m) => (None, Some(m.attempt), 0),
            Message::ReadAt(m) => (None, Some(m.chosen.as_u64()), 0),
            Message::Confirm(m) => (Some(m.ballot), Some(m.round), 0),
            Message::Confirmed(m) => (Some(m.ballot), Some(m.round), 0),
            Message::TakeOver(m) => (Some(m.ballot), None, 0),
            Message::Stranger(_) => (None, None, 0),
            Message::FetchPage(m) => (None, Some(m.offset), 0),
            Message::SnapshotPage(m) => (None, Some(m.offset), m.bytes.len()),
        };
        Self { name: message.name(), ballot, slot, size }
    }
}

impl fmt::Display for Gist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(ballot) = self.ballot {
            write!(f, " in {ballot}")?;
        }
        if let Some(slot) = self.slot {
            write!(f, " at {slot}")?;
        }
        if self.size > 0 {
            write!(f, " ({})", self.size)?;
        }
        Ok(())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Members are told by number from 1, as their ids are.
        match self {
            Self::Arrives { from, to, message } => {
                write!(f, "{} -> {}  {message}", from + 1, to + 1)
            }
            Self::Lost { from, to, message } => {
                write!(f, "{} -x {}  {message}", from + 1, to + 1)
            }
            Self::Durable { member, record } => {
                write!(f, "{}       durable up to record {record}", member + 1)
            }
            Self::Applied { member, slot, commands } => {
                write!(f, "{}       applied slot {slot} ({commands} commands)", member + 1)
            }
            Self::Core { member, event } => write!(f, "{}       {event}", member + 1),
            Self::Asks { client, member, request } => {
                write!(f, "c{client} -> {}  {request}", member + 1)
            }
            Self::Answered { client, answer } => write!(f, "c{client}      {answer}"),
            Self::Fault { what } => write!(f, "*       {what}"),
        }
    }
}

/// All that happened so far.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    events: u64,
    print: bool,
    lines: VecDeque<(Micros, Note)>,
}

impl Trace {
    /// An empty trace; `print` shows each line as it happens.
    pub(crate) fn new(print: bool) -> Self {
        Self { print, ..Self::default() }
    }

    /// Adds what happened.
    pub(crate) fn note(&mut self, at: Micros, note: Note) {
        let mut fold = Fold(mix(self.hash ^ at));
        note.hash(&mut fold);
        self.hash = fold.finish();
        self.events += 1;
        if self.print {
            println!("{}", line(at, &note));
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back((at, note));
    }

    /// A number that two runs share if the same happened in both.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events.
    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    /// The last lines.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.lines.iter().map(|(at, note)| line(*at, note)).collect()
    }
}

fn line(at: Micros, note: &Note) -> String {
    format!("{:3}.{:06}  {note}", at / SECOND, at % SECOND)
}

/// Folds bytes into a number, the same on every machine.
struct Fold(u64);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = mix(self.0.rotate_left(5) ^ word);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(notes: &[(Micros, usize)]) -> Trace {
        let mut trace = Trace::new(false);
        for (at, member) in notes {
            trace.note(*at, Note::Durable { member: *member, record: 1 });
        }
        trace
    }

    #[test]
    fn the_hash_tells_what_happened_when_and_in_which_order() {
        let hash = |notes| trace(notes).hash();
        assert_eq!(hash(&[(1, 0), (1, 1)]), hash(&[(1, 0), (1, 1)]));
        assert_ne!(hash(&[(1, 0), (1, 1)]), hash(&[(1, 1), (1, 0)]));
        assert_ne!(hash(&[(1, 0)]), hash(&[(2, 0)]));
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let notes: Vec<_> = (0..100).map(|at| (at, 0)).collect();
        let trace = trace(&notes);
        assert_eq!(trace.last_lines().len(), LINES_MAX);
        assert_eq!(trace.events(), 100);
        assert_eq!(trace.last_lines()[59], "  0.000099  1       durable up to record 1");
    }
}
