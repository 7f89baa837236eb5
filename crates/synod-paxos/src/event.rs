//! What happened, for people: logs, metrics and traces are made from these, outside.

use std::fmt;

use crate::ids::{Ballot, Incarnation, ReplicaId};
use crate::slot::Slot;

/// Something worth telling. The core decides nothing by them.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub enum Event {
    /// A peer was met for the first time.
    Met {
        /// The peer.
        peer: ReplicaId,
    },
    /// All others have met this member, and it them: it may vote and lead from now on.
    Formed,
    /// This member asks to lead.
    Candidacy {
        /// In this ballot.
        ballot: Ballot,
    },
    /// This member has a quorum's promises.
    Elected {
        /// The ballot it leads in.
        ballot: Ballot,
        /// Where its barrier stands: everything it found is below.
        barrier: Slot,
    },
    /// This member now follows, or has no leader to follow.
    LeaderChanged {
        /// The ballot of the leader it knows, itself included.
        leader: Option<Ballot>,
    },
    /// This member led and leads no more.
    SteppedDown {
        /// The ballot it led in.
        ballot: Ballot,
        /// Why.
        reason: StepDown,
    },
    /// The state machine took over the state of another member, instead of values that no log
    /// holds any more.
    Installed {
        /// Everything below is in it.
        end: Slot,
    },
    /// An input was left without effect.
    Ignored {
        /// From whom.
        from: ReplicaId,
        /// The message's name.
        message: &'static str,
        /// Why.
        reason: Ignored,
    },
}

/// Why a leader leads no more.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum StepDown {
    /// A higher ballot appeared.
    HigherBallot,
    /// It has not heard a quorum for an election timeout.
    NoQuorum,
    /// It handed over.
    HandedOver,
}

/// Why an input was left without effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum Ignored {
    /// The ballot is below what was promised.
    BallotBelowPromised,
    /// The message belongs to a ballot that is over, or not ours.
    AnotherBallot,
    /// It was answered or done before.
    Repeated,
    /// The sender is no member.
    NotAMember,
    /// The sender is not who we knew under its id.
    Stranger,
    /// This member has not met all others yet.
    NotFormed,
    /// A live leader is followed; its silence comes first.
    LeaderLives,
    /// What it asks for is chosen already.
    AlreadyChosen,
    /// It is too far from what we know: the window, the ballot's round, or a page is out of bounds.
    OutOfBounds,
    /// We do not lead.
    NotLeading,
    /// A queue is full.
    Full,
    /// It contradicts itself, or what its sender said before.
    Malformed,
}

/// Why this member must stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum HaltReason {
    /// A peer knew this member with another disk: this one has lost its promises and must not vote.
    Wiped {
        /// Who says so.
        peer: ReplicaId,
        /// The incarnation it knew.
        known: Incarnation,
        /// Ours.
        ours: Incarnation,
    },
}

impl fmt::Display for HaltReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wiped { peer, known, ours } => write!(
                f,
                "member {peer} knows this member with data of incarnation {known}, but the data \
                 folder is of incarnation {ours}: its promises are lost, so it must not vote under \
                 this name again; bring back the former data folder, or join as a new member"
            ),
        }
    }
}
