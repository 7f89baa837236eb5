//! Who asks, and what an operation needs.
//!
//! Everything that reaches the state names its [`Caller`]: commands carry it through the log, reads
//! give it to the [`Reader`](crate::Reader). What an operation needs follows from the operation
//! alone, see [`Need`]; whether the caller may is looked up in the state of the moment at which it
//! is carried out.

use crate::key::KeyRange;

/// Who asks. While auth is disabled everybody may do everything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Caller {
    /// A client that did not say who it is. May nothing that needs something.
    #[default]
    Anonymous,
    /// A client that proved who it is.
    User(Identity),
    /// A member itself, never on behalf of a client. May everything.
    Internal,
}

/// A user, as a token or a certificate names one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The user's name.
    pub name: String,
    /// The auth revision at which the password was checked; none if a certificate says who it is.
    /// Too old if the password has changed or auth has been disabled since.
    pub issued: Option<u64>,
}

/// What an operation needs. Ranges are as the request names them, before anybody normalises them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Need {
    /// To be a user.
    User,
    /// To read these keys.
    Read(KeyRange),
    /// To write these keys.
    Write(KeyRange),
    /// To read every key attached to this lease.
    ReadLease(i64),
    /// To write every key attached to this lease: so that nobody makes a key end, or live on, that
    /// is not theirs to write.
    WriteLease(i64),
    /// To read every key attached to any lease.
    ReadLeases,
    /// To be this user, or to have the role `root`.
    Itself(String),
    /// To have this role, or the role `root`.
    Role(String),
    /// To have the role `root`.
    Root,
    /// To be a member, not a client.
    Internal,
}
