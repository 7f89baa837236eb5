//! The client: cheap to clone, all clones share connections, token and what is known of members.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use synod_etcd::proto::etcdserverpb::ResponseHeader;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::call::{Kind, Service};
use crate::endpoints::Endpoints;
use crate::error::Error;
use crate::login::Login;
use crate::options::Options;

/// The most an answer may have, that of etcd's own clients: 2 GiB.
pub(crate) const ANSWER_BYTES_MAX: usize = 0x7fff_ffff;

/// A client of a cluster. Clones share everything.
#[derive(Clone)]
pub struct Client {
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) login: Arc<Login>,
    pub(crate) options: Arc<Options>,
    revision: Arc<AtomicI64>,
}

impl Client {
    /// A client of the members at these endpoints, such as `127.0.0.1:2379`; the first is preferred
    /// as long as it answers. Logs in if there is a user; else nothing is connected yet.
    ///
    /// # Errors
    ///
    /// If an endpoint is no address, or logging in fails.
    pub async fn connect<I>(endpoints: I, options: Options) -> Result<Self, Error>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let addresses = endpoints.into_iter().map(Into::into).collect();
        let client = Self {
            endpoints: Arc::new(Endpoints::new(addresses, &options)?),
            login: Login::new(options.user.clone()),
            options: Arc::new(options),
            revision: Arc::default(),
        };
        client.log_in_again(0, None).await?;
        Ok(client)
    }

    /// A client of this one member, for calls that are about a member. It shares the login.
    ///
    /// # Errors
    ///
    /// If the endpoint is no address.
    pub fn only(&self, endpoint: impl Into<String>) -> Result<Self, Error> {
        let endpoints = Arc::new(Endpoints::new(vec![endpoint.into()], &self.options)?);
        Ok(Self { endpoints, ..self.clone() })
    }

    /// The same without a user.
    pub(crate) fn anonymous(&self) -> Self {
        Self { login: Login::new(None), ..self.clone() }
    }

    /// The endpoints, as they were given.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.endpoints.addresses()
    }

    /// A connection to each endpoint, in their order, for what measures members and not this
    /// client: without token or limit of time, and nothing is asked again. Connected by its first
    /// request.
    pub fn channels(&self) -> impl Iterator<Item = Channel> {
        self.endpoints.channels()
    }

    /// The highest revision that an answer to this client or its clones has named; 0 before any.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision.load(Ordering::Relaxed)
    }

    pub(crate) fn saw(&self, header: Option<&ResponseHeader>) {
        let revision = header.map_or(0, |header| header.revision);
        self.revision.fetch_max(revision, Ordering::Relaxed);
    }

    /// Asks any member what changes nothing, or is as good done twice as once: see [`Service`].
    /// Asked again of the next member if there is no answer.
    ///
    /// # Errors
    ///
    /// If nobody answers, or the answer is a refusal.
    pub async fn read<T, F, Asked>(&self, ask: F) -> Result<T, Error>
    where
        F: Fn(Service) -> Asked,
        Asked: Future<Output = Result<Response<T>, Status>>,
    {
        self.ask(Kind::Idempotent, Some(self.options.call_timeout), ask).await
    }

    /// Asks any member to change something, once: see [`Service`]. It is sent again only if it
    /// certainly had no effect.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if it may have taken effect; any other error says that it did not.
    pub async fn write<T, F, Asked>(&self, ask: F) -> Result<T, Error>
    where
        F: Fn(Service) -> Asked,
        Asked: Future<Output = Result<Response<T>, Status>>,
    {
        self.ask(Kind::Write, Some(self.options.call_timeout), ask).await
    }

    /// As [`Client::read`], with another limit; none for what waits by its nature.
    pub(crate) async fn read_within<T, F, Asked>(
        &self,
        limit: Option<Duration>,
        ask: F,
    ) -> Result<T, Error>
    where
        F: Fn(Service) -> Asked,
        Asked: Future<Output = Result<Response<T>, Status>>,
    {
        self.ask(Kind::Idempotent, limit, ask).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints: Vec<_> = self.endpoints().collect();
        f.debug_struct("Client").field("endpoints", &endpoints).finish_non_exhaustive()
    }
}
