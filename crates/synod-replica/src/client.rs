//! How the driver answers those who asked: with what, and through what.

use synod_paxos::{Slot, Withdrawal};

/// Why a command brought no reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProposeError {
    /// Too much waits already; the command was not taken and never will be applied.
    #[error("too many commands wait already: try again later")]
    Busy,
    /// The command is too large; it was not taken.
    #[error("command of {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Its time was over.
    #[error("timed out, {}", describe(*outcome))]
    TimedOut {
        /// What became of the command.
        outcome: Withdrawal,
    },
    /// This member stops.
    #[error("this member is stopping, {}: ask another one", describe(*outcome))]
    Stopping {
        /// What became of the command.
        outcome: Withdrawal,
    },
}

impl ProposeError {
    /// Whether it is certain that the command was not applied and never will be.
    #[must_use]
    pub const fn is_never_applied(&self) -> bool {
        match self {
            Self::Busy | Self::TooLarge { .. } => true,
            Self::TimedOut { outcome } | Self::Stopping { outcome } => {
                matches!(outcome, Withdrawal::NeverApplied)
            }
        }
    }
}

const fn describe(outcome: Withdrawal) -> &'static str {
    match outcome {
        Withdrawal::NeverApplied => "and the command was not applied and never will be",
        Withdrawal::Unknown => "and whether the command applies is unknown",
    }
}

/// Why a read was not granted. Nothing was changed: it can be asked again.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// Too many reads wait already.
    #[error("too many reads wait already: try again later")]
    Busy,
    /// No leader confirmed in time how far one must have applied.
    #[error("timed out: no leader confirmed the read")]
    TimedOut,
    /// This member stops.
    #[error("this member is stopping: ask another one")]
    Stopping,
}

/// Why leadership was not handed over.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TransferError {
    /// This member does not lead, or nobody is there to take over.
    #[error("this member does not lead, or there is no member to hand over to")]
    NotPossible,
    /// Too many requests wait already.
    #[error("too many requests wait already: try again later")]
    Busy,
    /// The other member did not take over in time; this one still leads.
    #[error("timed out: this member still leads")]
    TimedOut,
    /// This member has stopped.
    #[error("this member is stopping: ask another one")]
    Stopping,
}

/// Who waits for the reply to a command.
pub trait ProposeClient<R> {
    /// Whether somebody is still there for the answer.
    fn is_there(&self) -> bool {
        true
    }

    /// Gives the answer.
    fn answer(self, outcome: Result<R, ProposeError>);
}

/// Who waits to read.
pub trait ReadClient<M> {
    /// Whether somebody is still there to read.
    fn is_there(&self) -> bool {
        true
    }

    /// Gives the answer: everything below the slot is applied, and the machine is current as of
    /// some moment after the read was asked for. It must be quick: the member waits for it.
    fn answer(self, machine: &M, granted: Result<Slot, ReadError>);
}

/// A closure that takes the answer to a command.
pub type BoxedProposeClient<R> = Box<dyn FnOnce(Result<R, ProposeError>) + Send>;

/// A closure that reads.
pub type BoxedReadClient<M> = Box<dyn FnOnce(&M, Result<Slot, ReadError>) + Send>;

impl<R> ProposeClient<R> for BoxedProposeClient<R> {
    fn answer(self, outcome: Result<R, ProposeError>) {
        self(outcome);
    }
}

impl<M> ReadClient<M> for BoxedReadClient<M> {
    fn answer(self, machine: &M, granted: Result<Slot, ReadError>) {
        self(machine, granted);
    }
}
