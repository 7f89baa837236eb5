//! Who asks: a name and a password become a token, and again when it is no longer taken.
//!
//! Only one call at a time logs in; the others that need it wait for its token.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use synod_etcd::EtcdError;
use synod_etcd::proto::etcdserverpb::AuthenticateRequest;
use synod_etcd::proto::etcdserverpb::auth_client::AuthClient;
use tokio::time::Instant;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::call::Kind;
use crate::client::Client;
use crate::error::Error;

/// Puts the token of whoever logged in on each request.
#[derive(Clone, Default)]
pub struct Token(Option<AsciiMetadataValue>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

/// Tokens are keys: they are in no log line.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Token(..)" } else { "Token(none)" })
    }
}

/// Who asks, and what shows it.
pub(crate) struct Login {
    user: Option<(String, String)>,
    /// The newest token, and how many there were.
    current: Mutex<(u64, Token)>,
    /// Held by the one that logs in.
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl Login {
    pub(crate) fn new(user: Option<(String, String)>) -> Arc<Self> {
        Arc::new(Self {
            user,
            current: Mutex::default(),
            one_at_a_time: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) const fn has_user(&self) -> bool {
        self.user.is_some()
    }

    pub(crate) fn token(&self) -> Token {
        self.current.lock().1.clone()
    }

    /// Which token a call is about to show.
    pub(crate) fn seen(&self) -> u64 {
        self.current.lock().0
    }
}

impl Client {
    /// Gets a new token, unless there is a newer one than `seen` already.
    pub(crate) async fn log_in_again(&self, seen: u64, end: Option<Instant>) -> Result<(), Error> {
        let Some((name, password)) = &self.login.user else { return Ok(()) };
        let _turn = self.login.one_at_a_time.lock().await;
        if self.login.seen() != seen {
            return Ok(());
        }
        // A token that is no longer taken must not stand in the way of its successor.
        self.login.current.lock().1 = Token::default();
        let limit = end
            .map_or(self.options.call_timeout, |end| end.saturating_duration_since(Instant::now()));
        let request = AuthenticateRequest { name: name.clone(), password: password.clone() };
        let asked = self.ask_without_login(limit, |service| {
            let request = request.clone();
            async move { AuthClient::new(service).authenticate(request).await }
        });
        let token = match asked.await {
            Ok(answer) => AsciiMetadataValue::try_from(answer.token).ok(),
            // Then nobody is asked who they are. If auth is enabled later, a call will say so.
            Err(error) if error.etcd() == Some(EtcdError::AuthNotEnabled) => None,
            Err(error) => return Err(error),
        };
        let mut current = self.login.current.lock();
        *current = (current.0 + 1, Token(token));
        Ok(())
    }

    async fn ask_without_login<T, F, Asked>(
        &self,
        limit: std::time::Duration,
        ask: F,
    ) -> Result<T, Error>
    where
        F: Fn(crate::call::Service) -> Asked,
        Asked: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let anonymous = self.anonymous();
        // Boxed: a call may log in, and logging in is a call.
        Box::pin(anonymous.ask(Kind::Idempotent, Some(limit), ask)).await
    }
}
