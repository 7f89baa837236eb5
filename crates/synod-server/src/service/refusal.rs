//! Why a request found no answer, in etcd's words, with what is known beside them.

use std::error::Error;

use synod_etcd::{EtcdError, Refusal};
use synod_kv::{ApplyError, ReadError, ReadTxnError};
use synod_replica::ProposeError;
use tonic::Code;

use crate::engine::EngineError;

/// A command that brought no reply. The detail says what became of it.
pub(super) fn of_proposal(error: ProposeError) -> Refusal {
    let etcd = match error {
        ProposeError::TooLarge { .. } => EtcdError::RequestTooLarge,
        ProposeError::Busy => EtcdError::TooManyRequests,
        ProposeError::TimedOut { .. } => EtcdError::Timeout,
        ProposeError::Stopping { .. } => EtcdError::Stopped,
    };
    let refusal = Refusal::new(etcd).with_detail(error.to_string());
    if error.is_never_applied() { refusal.never_applied() } else { refusal }
}

/// A read that was not granted.
pub(super) fn of_read(error: synod_replica::ReadError) -> Refusal {
    use synod_replica::ReadError;
    let etcd = match error {
        ReadError::Busy => EtcdError::TooManyRequests,
        ReadError::TimedOut => EtcdError::Timeout,
        ReadError::Stopping => EtcdError::Stopped,
    };
    Refusal::new(etcd).with_detail(error.to_string())
}

/// A range that the store cannot answer; `Err` if the store itself has failed.
pub(super) fn of_range(error: ReadError<EngineError>) -> Result<Refusal, String> {
    match error {
        ReadError::Compacted { requested, compacted } => {
            Ok(ApplyError::Compacted { requested, compacted }.into())
        }
        ReadError::FutureRevision { requested, current } => {
            Ok(ApplyError::FutureRevision { requested, current }.into())
        }
        ReadError::Denied(error) => Ok(error.into()),
        ReadError::Storage(error) => Err(error.to_string()),
    }
}

/// A transaction that the store cannot answer; `Err` if the store itself has failed.
pub(super) fn of_txn(error: ReadTxnError<EngineError>) -> Result<Refusal, String> {
    match error {
        ReadTxnError::Read(error) => of_range(error),
        ReadTxnError::Writes | ReadTxnError::ListTooLarge { .. } => Ok(failed(&error)),
    }
}

/// This member has failed, and stops.
pub(super) fn failed(error: &dyn Error) -> Refusal {
    Refusal::own(Code::Internal, format!("synod: {error}"))
}
