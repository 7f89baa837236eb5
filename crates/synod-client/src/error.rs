//! Why a call brought no answer.

use std::time::Duration;

use synod_etcd::{EtcdError, Refusal};
use tonic::Code;

/// Why a call brought no answer. All but [`Error::OutcomeUnknown`] say that nothing was changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This is not the address of a member.
    #[error("endpoint {endpoint:?}: {reason}")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No member could be connected to; nothing was sent.
    #[error("cannot connect to {endpoint}: {reason}")]
    Unreachable {
        /// The one tried last.
        endpoint: String,
        /// What the system said.
        reason: String,
    },
    /// A member said no, in etcd's code and text.
    #[error("{0}")]
    Refused(Refusal),
    /// The connection broke while a read waited for its answer.
    #[error("connection lost: {0}")]
    Disconnected(String),
    /// There was no answer in time, to a call that changes nothing.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// A write was sent, and nobody said what became of it: it may have taken effect, may do so
    /// later, or never. Only a read can tell.
    #[error("the write may have taken effect or not: {0}")]
    OutcomeUnknown(Unanswered),
    /// The revision a watch needs next is no longer kept.
    #[error("watch: revisions before {revision} are compacted")]
    Compacted {
        /// The oldest revision that can still be watched from.
        revision: i64,
    },
    /// The lease is over, or may be: it could not be renewed in time.
    #[error("lease {id:x} is lost")]
    LeaseLost {
        /// The lease.
        id: i64,
    },
}

/// What was seen of a write instead of its answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unanswered {
    /// The member that took it does not know either.
    #[error("{0}")]
    Refused(Refusal),
    /// The connection broke.
    #[error("connection lost: {0}")]
    Disconnected(String),
    /// There was no answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

impl Error {
    /// What a member said, if one did.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::OutcomeUnknown(Unanswered::Refused(refusal)) => {
                Some(refusal)
            }
            _ => None,
        }
    }

    /// The error of etcd's that a member answered, if it did.
    #[must_use]
    pub fn etcd(&self) -> Option<EtcdError> {
        match self {
            Self::Compacted { .. } => Some(EtcdError::Compacted),
            _ => self.refusal().and_then(Refusal::etcd),
        }
    }

    /// The gRPC code, as another client would show it.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Endpoint { .. } => Code::InvalidArgument,
            Self::Unreachable { .. }
            | Self::Disconnected(_)
            | Self::OutcomeUnknown(Unanswered::Disconnected(_)) => Code::Unavailable,
            Self::Refused(refusal) | Self::OutcomeUnknown(Unanswered::Refused(refusal)) => {
                refusal.code()
            }
            Self::TimedOut(_) | Self::OutcomeUnknown(Unanswered::TimedOut(_)) => {
                Code::DeadlineExceeded
            }
            Self::Compacted { .. } => Code::OutOfRange,
            Self::LeaseLost { .. } => Code::NotFound,
        }
    }
}
