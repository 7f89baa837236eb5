//! Which member is asked: the one that answered last, as long as it does; else the next.
//!
//! A member that fails is passed over until its back-off is over, which doubles with each failure
//! in a row. If all are passed over, the one that may be tried first is waited for.

use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint as Target, Uri};
use tower::service_fn;

use crate::error::Error;
use crate::options::Options;

/// The back-off after the first failure.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);

/// The longest back-off.
const BACK_OFF_MAX: Duration = Duration::from_secs(3);

/// After so long without a word a connection is asked whether it lives. etcd cuts off clients that
/// ask more often than every 5 s.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// How long the answer to that may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The members, and how they fare.
#[derive(Debug)]
pub(crate) struct Endpoints {
    all: Vec<Endpoint>,
    /// The place of the one to ask.
    current: AtomicUsize,
}

#[derive(Debug)]
struct Endpoint {
    address: String,
    way: Way,
    health: Mutex<Health>,
}

#[derive(Debug)]
struct Health {
    channel: Channel,
    failures: u32,
    passed_over_until: Option<Instant>,
}

/// How a member is reached.
#[derive(Debug)]
struct Way {
    target: Target,
    /// The unix socket to speak TLS over; others are named by the target.
    socket: Option<PathBuf>,
}

/// A member to ask now, or after a wait.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) at: usize,
    pub(crate) channel: Channel,
    /// When it may be asked; `None` for now.
    pub(crate) after: Option<Instant>,
}

impl Endpoints {
    /// Nothing is connected yet. Needs the runtime.
    pub(crate) fn new(addresses: Vec<String>, options: &Options) -> Result<Self, Error> {
        if addresses.is_empty() {
            let reason = "give at least one".to_owned();
            return Err(Error::Endpoint { endpoint: String::new(), reason });
        }
        let all: Result<_, Error> =
            addresses.into_iter().map(|address| Endpoint::new(address, options)).collect();
        Ok(Self { all: all?, current: AtomicUsize::new(0) })
    }

    pub(crate) const fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|endpoint| endpoint.address.as_str())
    }

    pub(crate) fn address(&self, at: usize) -> &str {
        &self.all[at].address
    }

    /// A connection to each of its own, made at the first request.
    pub(crate) fn channels(&self) -> impl Iterator<Item = Channel> {
        self.all.iter().map(|endpoint| endpoint.way.channel())
    }

    /// Whom to ask now.
    pub(crate) fn choose(&self) -> Choice {
        let now = Instant::now();
        let current = self.current.load(Ordering::Relaxed);
        let order = (0..self.all.len()).map(|step| (current + step) % self.all.len());
        let choices = order.map(|at| {
            let health = self.all[at].health.lock();
            let after = health.passed_over_until.filter(|until| *until > now);
            Choice { at, channel: health.channel.clone(), after }
        });
        // The first of those that may be asked soonest: `None` is the least.
        choices.min_by_key(|choice| choice.after).expect("there is an endpoint")
    }

    /// It answered.
    pub(crate) fn succeeded(&self, at: usize) {
        self.current.store(at, Ordering::Relaxed);
        let mut health = self.all[at].health.lock();
        health.failures = 0;
        health.passed_over_until = None;
    }

    /// It did not. A connection on which an answer is missing is not used again.
    pub(crate) fn failed(&self, at: usize, connection_is_suspect: bool) {
        let endpoint = &self.all[at];
        let mut health = endpoint.health.lock();
        health.failures = health.failures.saturating_add(1);
        health.passed_over_until = Some(Instant::now() + back_off(health.failures));
        if connection_is_suspect {
            health.channel = endpoint.way.channel();
        }
    }
}

impl Endpoint {
    fn new(address: String, options: &Options) -> Result<Self, Error> {
        let refused =
            |reason: &str| Error::Endpoint { endpoint: address.clone(), reason: reason.to_owned() };
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let socket = address.strip_prefix("unixs://").map(PathBuf::from);
        let url = match &socket {
            Some(path) => format!("https://{}", name_of(path)),
            None if address.contains("://") => address.clone(),
            None => format!("{scheme}://{address}"),
        };
        let target = Target::from_shared(url).map_err(|_| refused("not like 127.0.0.1:2379"))?;
        if target.uri().host().is_none_or(str::is_empty)
            && target.uri().scheme_str() != Some("unix")
        {
            return Err(refused("no host in it"));
        }
        let target = if target.uri().scheme_str() == Some("https") {
            let tls = options.tls.clone().unwrap_or_default();
            tls.on(target).map_err(|error| refused(&format!("TLS: {error}")))?
        } else {
            target
        };
        let target = target
            .tcp_nodelay(true)
            .connect_timeout(options.connect_timeout)
            .http2_keep_alive_interval(PROBE_INTERVAL)
            .keep_alive_timeout(PROBE_TIMEOUT)
            .keep_alive_while_idle(true);
        let way = Way { target, socket };
        let channel = way.channel();
        let health = Mutex::new(Health { channel, failures: 0, passed_over_until: None });
        Ok(Self { address, way, health })
    }
}

impl Way {
    /// A connection that is made at the first request.
    fn channel(&self) -> Channel {
        let Some(socket) = &self.socket else { return self.target.connect_lazy() };
        let socket = socket.clone();
        self.target.connect_with_connector_lazy(service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
    }
}

/// The name that the certificate behind a unix socket is to be for: as to etcd's clients, the last
/// part of its path, up to a colon.
fn name_of(socket: &Path) -> &str {
    let name = socket.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.split(':').next().unwrap_or(name)
}

/// Between half of it and the whole, so that clients that failed together return one by one.
fn back_off(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = BACK_OFF_MIN.saturating_mul(1 << doublings).min(BACK_OFF_MAX);
    let chance = RandomState::new().hash_one(failures) % 1024;
    let part = whole / 2 * u32::try_from(chance).expect("less than 1024") / 1024;
    whole / 2 + part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Endpoints {
        let addresses = ["127.0.0.1:1", "http://127.0.0.1:2", "127.0.0.1:3"].map(str::to_owned);
        Endpoints::new(addresses.to_vec(), &Options::default()).unwrap()
    }

    #[tokio::test]
    async fn a_member_that_fails_is_passed_over_and_the_one_that_answers_is_kept() {
        let endpoints = three();
        assert_eq!(endpoints.choose().at, 0);
        endpoints.failed(0, false);
        assert_eq!(endpoints.choose().at, 1);
        endpoints.succeeded(1);
        endpoints.all[0].health.lock().passed_over_until = Some(Instant::now());
        assert_eq!(endpoints.choose().at, 1, "though the back-off of the first is over");
        endpoints.failed(1, true);
        assert_eq!(endpoints.choose().at, 2);
    }

    #[tokio::test]
    async fn if_all_fail_the_soonest_is_waited_for() {
        let endpoints = three();
        for at in [0, 0, 0, 1, 2, 2] {
            endpoints.failed(at, false);
        }
        let choice = endpoints.choose();
        assert_eq!(choice.at, 1);
        assert!(choice.after.is_some_and(|after| after <= Instant::now() + BACK_OFF_MIN));
    }

    #[test]
    fn the_back_off_doubles_up_to_its_bound() {
        for failures in 1..200 {
            let whole = BACK_OFF_MIN.saturating_mul(1 << (failures - 1).min(16)).min(BACK_OFF_MAX);
            let found = back_off(failures);
            assert!(found >= whole / 2 && found <= whole, "{failures}: {found:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused_with_the_reason() {
        for (address, reason) in
            [("unixs://", "not like 127.0.0.1:2379"), ("not an address", "not like 127.0.0.1:2379")]
        {
            let found = Endpoints::new(vec![address.to_owned()], &Options::default());
            let expected = Error::Endpoint { endpoint: address.into(), reason: reason.into() };
            assert_eq!(found.unwrap_err(), expected);
        }
    }
}
