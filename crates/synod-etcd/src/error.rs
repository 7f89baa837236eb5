//! Every error of etcd's API, in one table: name, gRPC code, text.
//!
//! Code *and* text are interface: clients compare both, Go's client even maps the text back to an
//! error value. They are those of etcd 3.6; older versions answer a few with another code. What
//! limit was hit, and by how much, therefore stands beside the text: see [`crate::Refusal`].

use std::fmt;

use tonic::Code;

/// Writes the table below as an enum and its lookups, so that no error can lack a code or a text.
macro_rules! errors {
    ($($name:ident => $code:ident, $text:literal;)*) => {
        /// An error that etcd's clients know.
        #[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
        pub enum EtcdError {
            $(
                #[doc = concat!("\"", $text, "\"")]
                $name,
            )*
        }

        impl EtcdError {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The gRPC code it travels under.
            #[must_use]
            pub const fn code(self) -> Code {
                match self {
                    $(Self::$name => Code::$code,)*
                }
            }

            /// The exact text, as clients compare it.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("etcdserver: ", $text),)*
                }
            }
        }
    };
}

errors! {
    EmptyKey => InvalidArgument, "key is not provided";
    KeyNotFound => InvalidArgument, "key not found";
    ValueProvided => InvalidArgument, "value is provided";
    LeaseProvided => InvalidArgument, "lease is provided";
    TooManyOps => InvalidArgument, "too many operations in txn request";
    DuplicateKey => InvalidArgument, "duplicate key given in txn request";
    InvalidClientApiVersion => InvalidArgument, "invalid client api version";
    InvalidSortOption => InvalidArgument, "invalid sort option";
    Compacted => OutOfRange, "mvcc: required revision has been compacted";
    FutureRevision => OutOfRange, "mvcc: required revision is a future revision";
    NoSpace => ResourceExhausted, "mvcc: database space exceeded";
    LeaseNotFound => NotFound, "requested lease not found";
    LeaseExists => FailedPrecondition, "lease already exists";
    LeaseTtlTooLarge => OutOfRange, "too large lease TTL";
    WatchCanceled => Cancelled, "watch canceled";
    MemberExists => FailedPrecondition, "member ID already exist";
    PeerUrlExists => FailedPrecondition, "Peer URLs already exists";
    MemberNotEnoughStarted => FailedPrecondition, "re-configuration failed due to not enough \
        started members";
    MemberBadUrls => InvalidArgument, "given member URLs are invalid";
    MemberNotFound => NotFound, "member not found";
    MemberNotLearner => FailedPrecondition, "can only promote a learner member";
    LearnerNotReady => FailedPrecondition, "can only promote a learner member which is in sync \
        with leader";
    TooManyLearners => FailedPrecondition, "too many learner members in cluster";
    ClusterIdMismatch => FailedPrecondition, "cluster ID mismatch";
    RequestTooLarge => InvalidArgument, "request is too large";
    TooManyRequests => ResourceExhausted, "too many requests";
    RootUserNotExist => FailedPrecondition, "root user does not exist";
    RootRoleNotExist => FailedPrecondition, "root user does not have root role";
    UserAlreadyExists => FailedPrecondition, "user name already exists";
    UserEmpty => InvalidArgument, "user name is empty";
    UserNotFound => FailedPrecondition, "user name not found";
    RoleAlreadyExists => FailedPrecondition, "role name already exists";
    RoleNotFound => FailedPrecondition, "role name not found";
    RoleEmpty => InvalidArgument, "role name is empty";
    AuthFailed => InvalidArgument, "authentication failed, invalid user ID or password";
    PermissionNotGiven => InvalidArgument, "permission not given";
    PermissionDenied => PermissionDenied, "permission denied";
    RoleNotGranted => FailedPrecondition, "role is not granted to the user";
    PermissionNotGranted => FailedPrecondition, "permission is not granted to the role";
    AuthNotEnabled => FailedPrecondition, "authentication is not enabled";
    InvalidAuthToken => Unauthenticated, "invalid auth token";
    InvalidAuthManagement => InvalidArgument, "invalid auth management";
    AuthOldRevision => InvalidArgument, "revision of auth store is old";
    NoLeader => Unavailable, "no leader";
    NotLeader => FailedPrecondition, "not leader";
    LeaderChanged => Unavailable, "leader changed";
    NotCapable => FailedPrecondition, "not capable";
    Stopped => Unavailable, "server stopped";
    Timeout => Unavailable, "request timed out";
    TimeoutLeaderFail => Unavailable, "request timed out, possibly due to previous leader failure";
    TimeoutConnectionLost => Unavailable, "request timed out, possibly due to connection lost";
    TimeoutWaitApplied => Unavailable, "request timed out, waiting for the applied index took \
        too long";
    Unhealthy => Unavailable, "unhealthy cluster";
    Corrupt => DataLoss, "corrupt cluster";
    NotSupportedForLearner => FailedPrecondition, "rpc not supported for learner";
    BadLeaderTransferee => FailedPrecondition, "bad leader transferee";
    WrongDowngradeVersionFormat => InvalidArgument, "wrong downgrade target version format";
    InvalidDowngradeTargetVersion => InvalidArgument, "invalid downgrade target version";
    ClusterVersionUnavailable => FailedPrecondition, "cluster version not found during downgrade";
    DowngradeInProcess => FailedPrecondition, "cluster has a downgrade job in progress";
    NoInflightDowngrade => FailedPrecondition, "no inflight downgrade job";
    Canceled => Cancelled, "request canceled";
    DeadlineExceeded => DeadlineExceeded, "context deadline exceeded";
}

impl EtcdError {
    /// The error with this text, if etcd has one.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|error| error.text() == text)
    }
}

impl fmt::Display for EtcdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for EtcdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_names_one_error() {
        for error in EtcdError::ALL {
            assert_eq!(EtcdError::from_text(error.text()), Some(*error));
            assert!(error.text().starts_with("etcdserver: "));
            assert_ne!(error.code(), Code::Ok);
            assert_ne!(error.code(), Code::Unknown);
        }
        assert_eq!(EtcdError::from_text("etcdserver: "), None);
    }
}
