//! How messages, records and outputs read in a line: for scripts, traces and people.
//!
//! Ballots read `2.1` (round and replica), watermarks `chosen=5`, a batch `[a,b]` by the payloads
//! of its commands. It is a view for the eye, not a format: nothing parses it.

use std::fmt;

use crate::event::{Event, Ignored, StepDown};
use crate::ids::Ballot;
use crate::message::{Forward, Heartbeat, Learned, Message, Prepare, Promise, SnapshotPage};
use crate::output::{Output, PageWanted, Record};
use crate::prefix::Prefix;
use crate::slot::Slot;
use crate::value::{AcceptedValue, Command, CommandId, Value};

/// A payload longer than this, or not printable, reads as its length.
const PAYLOAD_SHOWN_MAX: usize = 24;

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:x}/{}", self.replica, self.life, self.number)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = &self.payload;
        match std::str::from_utf8(payload) {
            Ok(text)
                if text.len() <= PAYLOAD_SHOWN_MAX
                    && text.chars().all(|c| c.is_ascii_graphic()) =>
            {
                f.write_str(text)
            }
            _ => write!(f, "<{} bytes>", payload.len()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Noop => f.write_str("noop"),
            Self::Barrier(ballot) => write!(f, "barrier {ballot}"),
            Self::Batch(batch) => commands(f, &batch.commands),
        }
    }
}

impl<V: fmt::Display> fmt::Display for AcceptedValue<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.ballot, self.value)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "end={}", self.end)?;
        if self.barrier > Ballot::ZERO {
            write!(f, " barrier={}", self.barrier)?;
        }
        Ok(())
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Heartbeat(m) => heartbeat(f, m),
            Self::Prepare(Prepare { ballot, from, succeeds }) => {
                write!(f, " {ballot} from={from}")?;
                succeeds.map_or(Ok(()), |succeeds| write!(f, " succeeds={succeeds}"))
            }
            Self::Promise(m) => promise(f, m),
            Self::Accept(m) => {
                write!(f, " {} slot={} {} chosen={}", m.ballot, m.slot, m.value, m.chosen)
            }
            Self::Accepted(m) => write!(f, " {} slot={}", m.ballot, m.slot),
            Self::Nack(m) => write!(f, " {} promised={}", m.refused, m.promised),
            Self::Chosen(m) => write!(f, " {} below={}", m.ballot, m.chosen),
            Self::CatchUp(m) => write!(f, " from={}", m.from),
            Self::Learned(m) => learned(f, m),
            Self::Forward(Forward { ballot, sequence, commands: list }) => {
                write!(f, " {ballot} sequence={sequence} ")?;
                commands(f, list)
            }
            Self::Read(m) => write!(f, " attempt={:x}", m.attempt),
            Self::ReadAt(m) => write!(f, " attempt={:x} chosen={}", m.attempt, m.chosen),
            Self::Confirm(m) => write!(f, " {} round={}", m.ballot, m.round),
            Self::Confirmed(m) => write!(f, " {} round={}", m.ballot, m.round),
            Self::TakeOver(m) => write!(f, " {}", m.ballot),
            Self::Stranger(m) => write!(f, " known={}", m.known),
            Self::FetchPage(m) => write!(f, " {:x} at={}", m.snapshot, m.offset),
            Self::SnapshotPage(m) => snapshot_page(f, m),
        }
    }
}

fn snapshot_page(f: &mut fmt::Formatter<'_>, page: &SnapshotPage) -> fmt::Result {
    let SnapshotPage { snapshot, prefix, offset, bytes } = page;
    write!(f, " {snapshot:x} {prefix} at={offset} <{} bytes>", bytes.len())
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Met(peer) => write!(f, "met {} of {}", peer.id, peer.incarnation),
            Self::Promised(ballot) => write!(f, "promised {ballot}"),
            Self::Accepted { ballot, slot, value } => {
                write!(f, "accepted {ballot} slot={slot} {value}")
            }
            Self::Learned { slot, value } => write!(f, "learned slot={slot} {value}"),
            Self::Chosen(below) => write!(f, "chosen end={below}"),
            Self::Skipped(below) => write!(f, "skipped end={below}"),
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Persist { id, record } => write!(f, "persist #{} {record}", id.as_u64()),
            Self::Send { to, message, after } => {
                write!(f, "send {to} {message}")?;
                after.map_or(Ok(()), |after| write!(f, " after #{}", after.as_u64()))
            }
            Self::Apply { slot, value } => write!(f, "apply {slot} {value}"),
            Self::ReadReady { read, applied } => write!(f, "read {} ready at {applied}", read.0),
            Self::ServeLog { to, from, chosen, .. } => {
                write!(f, "serve log to {to} from={from} chosen={chosen}")
            }
            Self::TrimLog { below, after } => {
                write!(f, "trim log below={below} after #{}", after.as_u64())
            }
            Self::ServeSnapshot { to, wanted, .. } => match wanted {
                PageWanted::First { beyond } => {
                    write!(f, "serve snapshot to {to} beyond={beyond}")
                }
                PageWanted::At { snapshot, offset } => {
                    write!(f, "serve snapshot {snapshot:x} to {to} at={offset}")
                }
            },
            Self::TakePage(page) => {
                f.write_str("take page")?;
                snapshot_page(f, page)
            }
            Self::Event(event) => write!(f, "event {event}"),
            Self::Halt(reason) => write!(f, "halt: {reason}"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Met { peer } => write!(f, "met {peer}"),
            Self::Formed => f.write_str("formed"),
            Self::Candidacy { ballot } => write!(f, "asks to lead in {ballot}"),
            Self::Elected { ballot, barrier } => {
                write!(f, "elected in {ballot}, barrier at {barrier}")
            }
            Self::LeaderChanged { leader: Some(ballot) } => write!(f, "leader is {ballot}"),
            Self::LeaderChanged { leader: None } => f.write_str("no leader"),
            Self::SteppedDown { ballot, reason } => {
                write!(f, "stepped down from {ballot}: {reason}")
            }
            Self::Installed { end } => write!(f, "installed a snapshot, end={end}"),
            Self::Ignored { from, message, reason } => {
                write!(f, "ignored {message} of {from}: {reason}")
            }
        }
    }
}

impl fmt::Display for StepDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HigherBallot => "a higher ballot",
            Self::NoQuorum => "no quorum",
            Self::HandedOver => "handed over",
        })
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BallotBelowPromised => "its ballot is below the promise",
            Self::AnotherBallot => "of another ballot",
            Self::Repeated => "a repetition",
            Self::NotAMember => "not a member",
            Self::Stranger => "a stranger under a known name",
            Self::NotFormed => "not formed yet",
            Self::LeaderLives => "a leader lives",
            Self::AlreadyChosen => "chosen already",
            Self::OutOfBounds => "out of bounds",
            Self::NotLeading => "not leading",
            Self::Full => "a queue is full",
            Self::Malformed => "malformed",
        })
    }
}

fn heartbeat(f: &mut fmt::Formatter<'_>, m: &Heartbeat) -> fmt::Result {
    write!(f, " promised={} leader=", m.promised)?;
    match m.leader {
        Some(ballot) => write!(f, "{ballot}")?,
        None => f.write_str("none")?,
    }
    f.write_str(" hears=")?;
    list(f, ["{", ",", "}"], m.hears.iter().map(|peer| peer.id))?;
    write!(f, " chosen={}", m.chosen)?;
    if m.stable > Slot::FIRST {
        write!(f, " stable={}", m.stable)?;
    }
    Ok(())
}

fn promise(f: &mut fmt::Formatter<'_>, m: &Promise) -> fmt::Result {
    write!(f, " {} from={} ", m.ballot, m.from)?;
    let entries = m.entries.iter().map(|(slot, accepted)| format!("{slot}: {accepted}"));
    list(f, ["{", ", ", "}"], entries)?;
    write!(f, " {}", m.prefix)?;
    m.next.map_or(Ok(()), |next| write!(f, " next={next}"))
}

fn learned(f: &mut fmt::Formatter<'_>, m: &Learned) -> fmt::Result {
    write!(f, " from={} ", m.from)?;
    list(f, ["{", ", ", "}"], m.values.iter())?;
    write!(f, " chosen={}", m.chosen)
}

fn commands(f: &mut fmt::Formatter<'_>, commands: &[Command]) -> fmt::Result {
    list(f, ["[", ",", "]"], commands.iter())
}

/// Items between an opening and a closing mark, with a separator.
fn list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    [open, separator, close]: [&str; 3],
    items: impl Iterator<Item = T>,
) -> fmt::Result {
    f.write_str(open)?;
    for (n, item) in items.enumerate() {
        if n > 0 {
            f.write_str(separator)?;
        }
        write!(f, "{item}")?;
    }
    f.write_str(close)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::ReplicaId;
    use crate::message::Accept;
    use crate::time::LogTime;
    use crate::value::Batch;

    const BALLOT: Ballot = Ballot { round: 2, replica: ReplicaId::new(1) };

    fn batch(payloads: &[&'static [u8]]) -> Value {
        let id = CommandId { replica: ReplicaId::new(1), life: 1, number: 1 };
        let commands = payloads.iter().map(|&p| Command { id, payload: Bytes::from_static(p) });
        let stamp = LogTime::default();
        Value::Batch(Batch { ballot: BALLOT, stamp, commands: commands.collect() })
    }

    #[test]
    fn one_line_each() {
        let slot = Slot::new(5);
        let accept = Message::Accept(Accept {
            ballot: BALLOT,
            slot,
            value: batch(&[b"a", b"b"]),
            chosen: slot,
        });
        assert_eq!(accept.to_string(), "accept 2.1 slot=5 [a,b] chosen=5");
        let promise = Message::Promise(Promise {
            ballot: BALLOT,
            from: Slot::new(3),
            entries: vec![(
                Slot::new(3),
                AcceptedValue {
                    ballot: Ballot { round: 1, replica: ReplicaId::new(2) },
                    value: Value::Noop,
                },
            )],
            prefix: Prefix { end: Slot::new(3), ..Prefix::default() },
            next: None,
        });
        assert_eq!(promise.to_string(), "promise 2.1 from=3 {3: 1.2 noop} end=3");
    }

    #[test]
    fn payloads_cannot_break_the_line() {
        assert_eq!(batch(&[b"two\nlines", b"\xff"]).to_string(), "[<9 bytes>,<1 bytes>]");
    }
}
