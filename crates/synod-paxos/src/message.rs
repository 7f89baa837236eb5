//! What members say to each other.
//!
//! ```text
//!   candidate ── Prepare ──▶ all        Phase 1a   may I lead in this ballot?
//!   candidate ◀── Promise ── each       Phase 1b   yes, and this is what I have accepted (a page)
//!   leader ───── Accept ───▶ all        Phase 2a   accept this value for this slot
//!   leader ◀──── Accepted ── each       Phase 2b   I did, and it is durable
//!   anyone ◀───── Nack ───── anyone                I have promised a higher ballot
//!   leader ───── Chosen ───▶ all                   every slot below this one is chosen
//!
//!   member ───── CatchUp ──▶ any        what was chosen from this slot on?
//!   member ◀──── Learned ─── it         this
//!   member ◀── SnapshotPage ─ it         or, if its log has it no more, part of its state
//!   member ──── FetchPage ─▶ it         the next part
//!   member ───── Forward ──▶ leader     please propose these commands
//!   member ───── Read ─────▶ leader     up to where must I have applied, to read what is current?
//!   member ◀──── ReadAt ──── leader     to here
//!   leader ───── Confirm ──▶ all        do you still follow me?
//!   leader ◀── Confirmed ─── each       yes
//!   leader ──── TakeOver ──▶ one        lead in my stead
//!   member ──── Heartbeat ─▶ all        I am here; whom I hear, whom I follow, how far I am
//!   member ───── Stranger ─▶ one        you are not who I knew under your name: you lost your disk
//! ```

use bytes::Bytes;

use crate::ids::{Ballot, Incarnation, Peer};
use crate::prefix::Prefix;
use crate::slot::Slot;
use crate::time::LogTime;
use crate::value::{AcceptedValue, Command, Value};

/// A message between members. Any of them may be lost, delayed, repeated or overtaken.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub enum Message {
    /// Liveness: who is here.
    Heartbeat(Heartbeat),
    /// Phase 1a.
    Prepare(Prepare),
    /// Phase 1b.
    Promise(Promise),
    /// Phase 2a.
    Accept(Accept),
    /// Phase 2b.
    Accepted(Accepted),
    /// Phase 1b or 2b: refused.
    Nack(Nack),
    /// What is chosen, when no `Accept` is there to carry it.
    Chosen(Chosen),
    /// Asks for chosen values.
    CatchUp(CatchUp),
    /// Chosen values.
    Learned(Learned),
    /// Commands for the leader to propose.
    Forward(Forward),
    /// Asks the leader for a watermark to read at.
    Read(Read),
    /// The watermark.
    ReadAt(ReadAt),
    /// The leader asks whether it still leads.
    Confirm(Confirm),
    /// It does.
    Confirmed(Confirmed),
    /// The leader hands over.
    TakeOver(TakeOver),
    /// The receiver is not the member it was.
    Stranger(Stranger),
    /// Asks for a page of a snapshot.
    FetchPage(FetchPage),
    /// A page of a snapshot.
    SnapshotPage(SnapshotPage),
}

impl Message {
    /// Its name, for logs, metrics and traces.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Heartbeat(_) => "heartbeat",
            Self::Prepare(_) => "prepare",
            Self::Promise(_) => "promise",
            Self::Accept(_) => "accept",
            Self::Accepted(_) => "accepted",
            Self::Nack(_) => "nack",
            Self::Chosen(_) => "chosen",
            Self::CatchUp(_) => "catch-up",
            Self::Learned(_) => "learned",
            Self::Forward(_) => "forward",
            Self::Read(_) => "read",
            Self::ReadAt(_) => "read-at",
            Self::Confirm(_) => "confirm",
            Self::Confirmed(_) => "confirmed",
            Self::TakeOver(_) => "take-over",
            Self::Stranger(_) => "stranger",
            Self::FetchPage(_) => "fetch-page",
            Self::SnapshotPage(_) => "snapshot-page",
        }
    }

    /// Whether it may be large, so that it must not stand in the way of the others.
    #[must_use]
    pub const fn is_bulk(&self) -> bool {
        matches!(
            self,
            Self::Promise(_)
                | Self::Accept(_)
                | Self::Learned(_)
                | Self::Forward(_)
                | Self::SnapshotPage(_)
        )
    }
}

/// Sent to all at each heartbeat interval, and at once when the sender loses or finds a leader.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Heartbeat {
    /// The highest ballot the sender has promised.
    pub promised: Ballot,
    /// The ballot whose leader the sender is, or hears.
    pub leader: Option<Ballot>,
    /// Whom the sender has heard of late, as it has met them, by rising id. It has recorded them
    /// durably.
    pub hears: Vec<Peer>,
    /// Its chosen watermark.
    pub chosen: Slot,
    /// Everything below is in its state machine and survives a crash without the log.
    pub stable: Slot,
    /// If the sender leads: the log's time by its own clock, so that its successor need not begin
    /// with the last stamp, which may be old. Without meaning if it does not lead.
    pub time: LogTime,
}

/// Phase 1a: asks to ignore all lower ballots from now on, and to tell what is accepted.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Prepare {
    /// The ballot the sender wants to lead in.
    pub ballot: Ballot,
    /// The first slot it wants to hear about. The first prepare of a ballot asks from the sender's
    /// chosen watermark; later ones ask for the next page.
    pub from: Slot,
    /// The ballot of the leader that asked the sender to take over, if one did: those who follow
    /// that leader need not wait for its silence.
    pub succeeds: Option<Ballot>,
}

/// Phase 1b: promises to ignore lower ballots, with a page of what is accepted.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Promise {
    /// The ballot promised.
    pub ballot: Ballot,
    /// The first slot this page speaks of.
    pub from: Slot,
    /// What the sender holds for open slots, by rising slot, each at most once, from `from` up to
    /// `next`. Slots below `prefix.end` are left out: what was chosen there is learned by
    /// [`CatchUp`].
    pub entries: Vec<(Slot, AcceptedValue)>,
    /// What the sender knows to be chosen.
    pub prefix: Prefix,
    /// Where the next page begins; `None` if there is nothing above this page.
    pub next: Option<Slot>,
}

/// Phase 2a: asks to accept a value for a slot.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Accept {
    /// The leader's ballot.
    pub ballot: Ballot,
    /// The slot.
    pub slot: Slot,
    /// The value.
    pub value: Value,
    /// The leader's chosen watermark.
    pub chosen: Slot,
}

/// Phase 2b: accepted, and durable.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Accepted {
    /// The ballot it was accepted in.
    pub ballot: Ballot,
    /// The slot.
    pub slot: Slot,
}

/// The sender has promised a higher ballot than the one it was asked for.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Nack {
    /// The ballot that was refused.
    pub refused: Ballot,
    /// The higher ballot.
    pub promised: Ballot,
}

/// Every slot below the watermark is chosen, and what was accepted there in this ballot is it.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Chosen {
    /// The leader's ballot.
    pub ballot: Ballot,
    /// The leader's chosen watermark.
    pub chosen: Slot,
}

/// Asks for what was chosen from a slot on.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct CatchUp {
    /// The sender's chosen watermark.
    pub from: Slot,
}

/// Values that were chosen, slot after slot.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Learned {
    /// The slot of the first value.
    pub from: Slot,
    /// What was chosen, one value for each slot from `from` on.
    pub values: Vec<Value>,
    /// The sender's chosen watermark: there is more up to here.
    pub chosen: Slot,
}

/// Commands for the leader to propose in its ballot, in this order, each once.
///
/// Within a ballot the commands of one life of a member are numbered from 0 without gaps. The
/// leader takes the next one it has not taken; what it does not take is sent again.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Forward {
    /// The only ballot in which they may be proposed.
    pub ballot: Ballot,
    /// The place of the first command in the sender's sequence for this ballot.
    pub sequence: u64,
    /// The commands; all are the sender's own.
    pub commands: Vec<Command>,
}

/// Asks the leader how far one must have applied to read what is current.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Read {
    /// Names the question; never used again by its sender.
    pub attempt: u64,
}

/// How far one must have applied to answer the reads of an attempt.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct ReadAt {
    /// The question.
    pub attempt: u64,
    /// Everything below must be applied.
    pub chosen: Slot,
}

/// Asks whether the receiver has promised nothing above the leader's ballot.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Confirm {
    /// The leader's ballot.
    pub ballot: Ballot,
    /// Names the question within the ballot.
    pub round: u64,
}

/// The sender has promised nothing above the ballot.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Confirmed {
    /// The leader's ballot.
    pub ballot: Ballot,
    /// The question.
    pub round: u64,
}

/// The leader of a ballot asks the receiver to lead in its stead, and leads no more.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct TakeOver {
    /// The ballot of the leader that ends.
    pub ballot: Ballot,
}

/// The sender knew the receiver under another incarnation.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Stranger {
    /// The incarnation it knew.
    pub known: Incarnation,
}

/// Asks for a page of a snapshot that the receiver has begun to send.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct FetchPage {
    /// Which one. If the receiver does not have it any more, it begins another one.
    pub snapshot: u64,
    /// How many bytes of it are there already.
    pub offset: u64,
}

/// A page of a snapshot of the sender's state. The one that follows the last has no bytes.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct SnapshotPage {
    /// Names it among those of its sender, for ever.
    pub snapshot: u64,
    /// What it is the state of.
    pub prefix: Prefix,
    /// Where the page begins.
    pub offset: u64,
    /// What it holds.
    pub bytes: Bytes,
}
