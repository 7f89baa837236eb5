//! One call, asked of as many members as it takes, and never once too often.
//!
//! ```text
//!   what came back                                     a read     a write
//!   ------------------------------------------------   --------   -------------------
//!   no connection: it never left                       next one   next one
//!   refused, "never applied" beside it                 next one   next one
//!   refused for who asks: token unknown or too old     log in     log in, and once more
//!   no leader, leader changed, stopping, timed out     next one   OutcomeUnknown
//!   connection lost, no answer in time                 next one   OutcomeUnknown
//!   any other refusal                                  Refused    Refused
//! ```

use std::future::Future;
use std::time::Duration;

use synod_etcd::{EtcdError, Refusal};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::codegen::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Response, Status};

use crate::client::Client;
use crate::error::{Error, Unanswered};
use crate::login::Token;

/// A connection to a member that shows the token of whoever logged in; what the generated clients
/// of [`crate::proto`] are made of.
pub type Service = InterceptedService<Channel, Token>;

/// Whether a call that may have been carried out may be asked again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// It changes nothing, or twice is as good as once.
    Idempotent,
    /// Once.
    Write,
}

/// What came of one attempt.
#[derive(Debug, Eq, PartialEq)]
enum Failure {
    /// It never left.
    NotSent(String),
    /// It was sent; the connection broke.
    Broken(String),
    /// It was sent; no answer came.
    Late,
    /// A member answered.
    Refused(Refusal),
}

/// What to do next.
#[derive(Debug, Eq, PartialEq)]
enum Verdict {
    TryNext(Error),
    LogIn(Error),
    GiveUp(Error),
}

impl Client {
    /// Asks one member, then others, until one answers or the time is over.
    pub(crate) async fn ask<T, F, Asked>(
        &self,
        kind: Kind,
        limit: Option<Duration>,
        ask: F,
    ) -> Result<T, Error>
    where
        F: Fn(Service) -> Asked,
        Asked: Future<Output = Result<Response<T>, Status>>,
    {
        self.ask_from(kind, limit, ask).await.map(|(_, answer)| answer)
    }

    /// The same, with the place of the one that answered.
    pub(crate) async fn ask_from<T, F, Asked>(
        &self,
        kind: Kind,
        limit: Option<Duration>,
        ask: F,
    ) -> Result<(usize, T), Error>
    where
        F: Fn(Service) -> Asked,
        Asked: Future<Output = Result<Response<T>, Status>>,
    {
        let end = limit.map(|limit| Instant::now() + limit);
        let mut login_is_fresh = false;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let seen = self.login.seen();
            let error = match self.attempt(kind, end, attempts, &ask).await {
                Ok(answer) => return Ok(answer),
                Err((endpoint, failure)) => {
                    match judge(kind, failure, &endpoint, limit, self.login.has_user()) {
                        Verdict::GiveUp(error) => return Err(error),
                        Verdict::LogIn(error) if login_is_fresh => return Err(error),
                        Verdict::LogIn(_) => {
                            self.log_in_again(seen, end).await?;
                            login_is_fresh = true;
                            continue;
                        }
                        Verdict::TryNext(error) => error,
                    }
                }
            };
            let is_last = limit.is_some() && attempts >= self.attempts_max();
            if is_last || end.is_some_and(|end| Instant::now() >= end) {
                return Err(error);
            }
        }
    }

    fn attempts_max(&self) -> usize {
        let rounds = usize::try_from(self.options.rounds_max.max(1)).unwrap_or(usize::MAX);
        rounds.saturating_mul(self.endpoints.len())
    }

    async fn attempt<T, F, Asked>(
        &self,
        kind: Kind,
        end: Option<Instant>,
        attempts: usize,
        ask: &F,
    ) -> Result<(usize, T), (String, Failure)>
    where
        F: Fn(Service) -> Asked,
        Asked: Future<Output = Result<Response<T>, Status>>,
    {
        let choice = self.endpoints.choose();
        let (at, address) = (choice.at, self.endpoints.address(choice.at).to_owned());
        if let Some(after) = choice.after {
            sleep_until(end.map_or(after, |end| end.min(after))).await;
            if end.is_some_and(|end| Instant::now() >= end) {
                return Err((address, Failure::NotSent("no member can be reached".to_owned())));
            }
        }
        let service = InterceptedService::new(choice.channel, self.login.token());
        let answer = match end {
            None => ask(service).await,
            Some(end) => {
                let left = end.saturating_duration_since(Instant::now());
                let others_may_know = kind == Kind::Idempotent && attempts < self.endpoints.len();
                let limit = if others_may_know { left / 2 } else { left };
                match timeout(limit, ask(service)).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        self.endpoints.failed(at, true);
                        return Err((address, Failure::Late));
                    }
                }
            }
        };
        match answer {
            Ok(answer) => {
                self.endpoints.succeeded(at);
                Ok((at, answer.into_inner()))
            }
            Err(status) => {
                let failure = Failure::of(&status);
                match &failure {
                    Failure::Refused(refusal) if !is_passing(refusal) => {
                        self.endpoints.succeeded(at);
                    }
                    _ => self.endpoints.failed(at, false),
                }
                Err((address, failure))
            }
        }
    }

    /// A stream from this member ended so: `Err` if another one would end alike.
    pub(crate) fn stream_ended(&self, at: usize, status: &Status) -> Result<(), Error> {
        self.endpoints.failed(at, false);
        let (failure, has_user) = (Failure::of(status), self.login.has_user());
        match judge(Kind::Idempotent, failure, self.endpoints.address(at), None, has_user) {
            Verdict::TryNext(_) | Verdict::LogIn(_) => Ok(()),
            Verdict::GiveUp(error) => Err(error),
        }
    }
}

impl Error {
    /// Whether the same may be answered at another time.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Disconnected(_) | Self::TimedOut(_) => true,
            Self::Refused(refusal) => is_passing(refusal),
            _ => false,
        }
    }
}

impl Failure {
    fn of(status: &Status) -> Self {
        let Some(mut cause) = std::error::Error::source(status) else {
            return Self::Refused(Refusal::from_status(status));
        };
        // Only what fails on this side has a cause.
        let mut never_left = false;
        loop {
            never_left |= cause.is::<ConnectError>();
            match cause.source() {
                Some(deeper) => cause = deeper,
                None => break,
            }
        }
        let words = cause.to_string();
        if never_left { Self::NotSent(words) } else { Self::Broken(words) }
    }
}

fn judge(
    kind: Kind,
    failure: Failure,
    endpoint: &str,
    limit: Option<Duration>,
    has_user: bool,
) -> Verdict {
    let limit = limit.unwrap_or_default();
    match (failure, kind) {
        (Failure::NotSent(reason), _) => {
            Verdict::TryNext(Error::Unreachable { endpoint: endpoint.to_owned(), reason })
        }
        (Failure::Broken(reason), Kind::Idempotent) => {
            Verdict::TryNext(Error::Disconnected(reason))
        }
        (Failure::Broken(reason), Kind::Write) => {
            Verdict::GiveUp(Error::OutcomeUnknown(Unanswered::Disconnected(reason)))
        }
        (Failure::Late, Kind::Idempotent) => Verdict::TryNext(Error::TimedOut(limit)),
        (Failure::Late, Kind::Write) => {
            Verdict::GiveUp(Error::OutcomeUnknown(Unanswered::TimedOut(limit)))
        }
        (Failure::Refused(refusal), _) if has_user && is_about_the_token(&refusal) => {
            Verdict::LogIn(Error::Refused(refusal))
        }
        (Failure::Refused(refusal), _) if refusal.is_never_applied() && is_passing(&refusal) => {
            Verdict::TryNext(Error::Refused(refusal))
        }
        (Failure::Refused(refusal), Kind::Idempotent) if is_passing(&refusal) => {
            Verdict::TryNext(Error::Refused(refusal))
        }
        (Failure::Refused(refusal), Kind::Write) if leaves_open(&refusal) => {
            Verdict::GiveUp(Error::OutcomeUnknown(Unanswered::Refused(refusal)))
        }
        (Failure::Refused(refusal), _) => Verdict::GiveUp(Error::Refused(refusal)),
    }
}

/// Whether the member may answer later, or another one now.
fn is_passing(refusal: &Refusal) -> bool {
    refusal.code() == Code::Unavailable || refusal.etcd() == Some(EtcdError::TooManyRequests)
}

/// Whether the command may have been applied though it was refused.
fn leaves_open(refusal: &Refusal) -> bool {
    let codes = [
        Code::Unavailable,
        Code::DeadlineExceeded,
        Code::Cancelled,
        Code::Aborted,
        Code::Internal,
        Code::Unknown,
    ];
    !refusal.is_never_applied() && codes.contains(&refusal.code())
}

/// Whether a new token helps. A name that is missing is one too: auth was enabled a moment ago.
fn is_about_the_token(refusal: &Refusal) -> bool {
    use EtcdError::{AuthOldRevision, InvalidAuthToken, UserEmpty};
    refusal.code() == Code::Unauthenticated
        || matches!(refusal.etcd(), Some(InvalidAuthToken | AuthOldRevision | UserEmpty))
}

#[cfg(test)]
mod tests;
