//! Why a request is refused: etcd's error where etcd has one, and the numbers beside it.
//!
//! The text of an [`EtcdError`] may not change, so limit and actual value travel in the trailer
//! [`DETAIL_KEY`], which clients that do not know it ignore. `docs/decisions/0005-error-texts.md`
//! tells the reasons.

use std::fmt;

use synod_kv::{ApplyError, AuthError, EmptyKey, TxnError};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Code, Status};

use crate::error::EtcdError;

/// The trailer that carries the detail of a refusal, as visible ASCII.
pub const DETAIL_KEY: &str = "synod-detail";

/// The trailer that says, by [`NEVER_APPLIED`], that a refused command may be sent again: it was
/// not applied and never will be. Without it nothing is said.
pub const OUTCOME_KEY: &str = "synod-outcome";

/// See [`OUTCOME_KEY`].
pub const NEVER_APPLIED: &str = "never-applied";

/// A request that will not be served, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    reason: Reason,
    detail: Option<String>,
    never_applied: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Reason {
    /// Clients know it.
    Etcd(EtcdError),
    /// etcd has no words for it.
    Own { code: Code, text: String },
}

impl Refusal {
    /// A refusal that etcd's clients know.
    #[must_use]
    pub const fn new(error: EtcdError) -> Self {
        Self { reason: Reason::Etcd(error), detail: None, never_applied: false }
    }

    /// A refusal that etcd has no words for.
    #[must_use]
    pub fn own(code: Code, text: impl Into<String>) -> Self {
        let reason = Reason::Own { code, text: text.into() };
        Self { reason, detail: None, never_applied: false }
    }

    /// The same with limit, actual value and way out.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same, and what was asked for never takes effect: it may be asked again.
    #[must_use]
    pub const fn never_applied(mut self) -> Self {
        self.never_applied = true;
        self
    }

    /// The refusal of a command that writes and would tell more than it may. Nothing was done.
    #[must_use]
    pub fn answer_too_large(bytes: u64, bytes_max: u64) -> Self {
        Self::own(
            Code::ResourceExhausted,
            format!(
                "synod: nothing was written: the keys and values in the answer take {bytes} bytes \
                 of memory or more, and {bytes_max} is the limit of a request that writes: delete \
                 or read fewer keys at a time, do without prev_kv, or raise \
                 --max-range-request-bytes"
            ),
        )
    }

    /// The refusal a server sent, as a client finds it.
    #[must_use]
    pub fn from_status(status: &Status) -> Self {
        let reason = match EtcdError::from_text(status.message()) {
            Some(error) => Reason::Etcd(error),
            None => Reason::Own { code: status.code(), text: status.message().to_owned() },
        };
        let detail = status.metadata().get(DETAIL_KEY).and_then(|value| value.to_str().ok());
        let outcome = status.metadata().get(OUTCOME_KEY);
        let never_applied = outcome.is_some_and(|outcome| outcome == NEVER_APPLIED);
        Self { reason, detail: detail.map(str::to_owned), never_applied }
    }

    /// The error of etcd's that this is, if etcd has one.
    #[must_use]
    pub const fn etcd(&self) -> Option<EtcdError> {
        match &self.reason {
            Reason::Etcd(error) => Some(*error),
            Reason::Own { .. } => None,
        }
    }

    /// The gRPC code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match &self.reason {
            Reason::Etcd(error) => error.code(),
            Reason::Own { code, .. } => *code,
        }
    }

    /// The text clients compare.
    #[must_use]
    pub fn text(&self) -> &str {
        match &self.reason {
            Reason::Etcd(error) => error.text(),
            Reason::Own { text, .. } => text,
        }
    }

    /// Limit, actual value and way out, where there are such.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// Whether whoever refused says that what was asked for never takes effect.
    #[must_use]
    pub const fn is_never_applied(&self) -> bool {
        self.never_applied
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<EtcdError> for Refusal {
    fn from(error: EtcdError) -> Self {
        Self::new(error)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut trailers = MetadataMap::new();
        if let Some(detail) = refusal.detail() {
            let ascii = detail.escape_default().to_string();
            let value = AsciiMetadataValue::try_from(ascii).expect("escaped text is visible ASCII");
            trailers.insert(DETAIL_KEY, value);
        }
        if refusal.never_applied {
            trailers.insert(OUTCOME_KEY, AsciiMetadataValue::from_static(NEVER_APPLIED));
        }
        Self::with_metadata(refusal.code(), refusal.text(), trailers)
    }
}

impl From<EmptyKey> for Refusal {
    fn from(EmptyKey: EmptyKey) -> Self {
        Self::new(EtcdError::EmptyKey)
    }
}

impl From<TxnError> for Refusal {
    fn from(error: TxnError) -> Self {
        match error {
            TxnError::DuplicateKey => Self::new(EtcdError::DuplicateKey),
            // etcd has no such limit of its own: its count of operations bounds the depth.
            TxnError::TooDeep { .. } => {
                Self::new(EtcdError::TooManyOps).with_detail(error.to_string())
            }
        }
    }
}

impl From<ApplyError> for Refusal {
    fn from(error: ApplyError) -> Self {
        let etcd = match error {
            ApplyError::Compacted { .. } => EtcdError::Compacted,
            ApplyError::FutureRevision { .. } => EtcdError::FutureRevision,
            ApplyError::KeyNotFound => EtcdError::KeyNotFound,
            ApplyError::LeaseNotFound { .. } => EtcdError::LeaseNotFound,
            ApplyError::LeaseExists { .. } => EtcdError::LeaseExists,
            ApplyError::LeaseTtlTooLarge { .. } => EtcdError::LeaseTtlTooLarge,
            ApplyError::Auth(error) => return error.into(),
            ApplyError::NoSpace => EtcdError::NoSpace,
            ApplyError::Corrupt => EtcdError::Corrupt,
            // etcd sets no bound.
            ApplyError::TooManyAlarms => EtcdError::TooManyRequests,
            ApplyError::AnswerTooLarge { bytes, bytes_max } => {
                return Self::answer_too_large(bytes, bytes_max);
            }
            ApplyError::Malformed(_) => return Self::own(Code::Internal, error.to_string()),
        };
        Self::new(etcd).with_detail(error.to_string())
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        Self::new(match error {
            AuthError::RootUserNotExist => EtcdError::RootUserNotExist,
            AuthError::RootRoleNotExist => EtcdError::RootRoleNotExist,
            AuthError::UserAlreadyExists => EtcdError::UserAlreadyExists,
            AuthError::UserEmpty => EtcdError::UserEmpty,
            AuthError::UserNotFound => EtcdError::UserNotFound,
            AuthError::RoleAlreadyExists => EtcdError::RoleAlreadyExists,
            AuthError::RoleNotFound => EtcdError::RoleNotFound,
            AuthError::RoleEmpty => EtcdError::RoleEmpty,
            AuthError::PermissionDenied => EtcdError::PermissionDenied,
            AuthError::RoleNotGranted => EtcdError::RoleNotGranted,
            AuthError::PermissionNotGranted => EtcdError::PermissionNotGranted,
            AuthError::NotEnabled => EtcdError::AuthNotEnabled,
            AuthError::InvalidToken => EtcdError::InvalidAuthToken,
            AuthError::InvalidManagement => EtcdError::InvalidAuthManagement,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_etcds_text_and_our_detail() {
        let refusal = Refusal::new(EtcdError::TooManyOps).with_detail("129 of at most 128 – sorry");
        let status = Status::from(refusal);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "etcdserver: too many operations in txn request");
        let found = Refusal::from_status(&status);
        assert_eq!(found.etcd(), Some(EtcdError::TooManyOps));
        assert_eq!(found.detail(), Some("129 of at most 128 \\u{2013} sorry"));
        assert!(!found.is_never_applied());
    }

    #[test]
    fn a_status_tells_that_a_command_is_dead() {
        let status = Status::from(Refusal::new(EtcdError::Timeout).never_applied());
        assert!(Refusal::from_status(&status).is_never_applied());
    }

    #[test]
    fn a_refusal_without_etcds_words_keeps_its_own() {
        let status = Status::from(Refusal::own(Code::Internal, "odd"));
        let found = Refusal::from_status(&status);
        assert_eq!((found.etcd(), found.code(), found.text()), (None, Code::Internal, "odd"));
        assert_eq!(found.to_string(), "odd");
    }
}
