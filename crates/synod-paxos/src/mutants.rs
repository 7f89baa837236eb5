//! Wrong variants of the protocol that study notes and toy programs contain.
//!
//! Each can be switched on in tests (feature `mutants`), to prove that the model checker and the
//! simulator are able to fail. Without the feature every question about them is answered `false`
//! at compile time.

/// A wrong variant.
#[cfg_attr(
    not(feature = "mutants"),
    expect(dead_code, unreachable_pub, reason = "public, and made, with the feature only")
)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum Mutant {
    /// One phase only: a candidate leads without the promises of a quorum.
    NoPhase1,
    /// An acceptor compares with the highest ballot it accepted in, not with the one it promised.
    AcceptByAccepted,
    /// A promise tells values without the ballots they were accepted in.
    PromiseWithoutBallot,
    /// A candidate keeps the promises of its former ballot.
    KeepPromises,
    /// A promise or an acceptance is answered before it is durable.
    ReplyBeforeDurable,
    /// A ballot is spoken before its round is durable, and used again after a restart.
    ReuseBallot,
    /// A member that lost its disk votes again under its old name.
    WipedVotes,
    /// A new leader fills the holes of its own log with no-ops, whatever the quorum told it.
    FillHolesAlone,
    /// A batch is applied though a barrier below it has made it void.
    RaiseTheDead,
    /// A follower takes the leader's watermark for whatever it has accepted, in any ballot.
    ChosenInAnyBallot,
    /// A leader answers reads without asking whether it still leads.
    ReadUnconfirmed,
    /// A member that takes over a snapshot forgets what it has promised.
    InstallForgetsPromise,
    /// A member that takes over a snapshot keeps its own barrier instead of the one that is in it.
    InstallWithoutBarrier,
}

impl Mutant {
    /// All of them.
    #[cfg(feature = "mutants")]
    pub const ALL: [Self; 13] = [
        Self::NoPhase1,
        Self::AcceptByAccepted,
        Self::PromiseWithoutBallot,
        Self::KeepPromises,
        Self::ReplyBeforeDurable,
        Self::ReuseBallot,
        Self::WipedVotes,
        Self::FillHolesAlone,
        Self::RaiseTheDead,
        Self::ChosenInAnyBallot,
        Self::ReadUnconfirmed,
        Self::InstallForgetsPromise,
        Self::InstallWithoutBarrier,
    ];
}
