//! Leases, and keeping them alive.

use std::time::Duration;

use parking_lot::Mutex;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::lease_client::LeaseClient;
use synod_etcd::{EtcdError, Refusal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::codegen::tokio_stream::{StreamExt, iter, pending};
use tonic::{Response, Status};

use crate::call::Service;
use crate::client::Client;
use crate::error::Error;

/// A lease that was granted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lease {
    /// Its id.
    pub id: i64,
    /// How long it lasts without a renewal, as granted: it may be more than was asked for.
    pub ttl: Duration,
    /// When it was asked for.
    asked: Instant,
}

impl Client {
    /// Grants a lease, for whole seconds, rounded up.
    ///
    /// # Errors
    ///
    /// See [`Client::write`].
    pub async fn grant(&self, ttl: Duration) -> Result<Lease, Error> {
        self.grant_with_id(0, ttl).await
    }

    /// The same, with this id; 0 lets the server choose.
    ///
    /// # Errors
    ///
    /// See [`Client::write`].
    pub async fn grant_with_id(&self, id: i64, ttl: Duration) -> Result<Lease, Error> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let ttl = i64::try_from(seconds).unwrap_or(i64::MAX);
        // That of the first attempt: too early is safe.
        let asked = Instant::now();
        let request = pb::LeaseGrantRequest { ttl, id };
        let granting = self
            .write(|service| async move { LeaseClient::new(service).lease_grant(request).await });
        let granted = granting.await?;
        self.saw(granted.header.as_ref());
        Ok(Lease { id: granted.id, ttl: seconds_of(granted.ttl), asked })
    }

    /// Ends a lease, and with it its keys.
    ///
    /// # Errors
    ///
    /// See [`Client::write`]. A lease that is over is `etcdserver: requested lease not found`.
    pub async fn revoke(&self, id: i64) -> Result<pb::LeaseRevokeResponse, Error> {
        let request = pb::LeaseRevokeRequest { id };
        // Twice is as good as once.
        let asked = self
            .read(|service| async move { LeaseClient::new(service).lease_revoke(request).await });
        let answer = asked.await?;
        self.saw(answer.header.as_ref());
        Ok(answer)
    }

    /// What is left of a lease: a TTL of -1 if there is no such lease.
    ///
    /// # Errors
    ///
    /// See [`Client::read`].
    pub async fn time_to_live(
        &self,
        id: i64,
        keys: bool,
    ) -> Result<pb::LeaseTimeToLiveResponse, Error> {
        let request = pb::LeaseTimeToLiveRequest { id, keys };
        let asked = self.read(|service| async move {
            LeaseClient::new(service).lease_time_to_live(request).await
        });
        asked.await
    }

    /// All leases.
    ///
    /// # Errors
    ///
    /// See [`Client::read`].
    pub async fn leases(&self) -> Result<pb::LeaseLeasesResponse, Error> {
        let asked = self.read(|service| async move {
            LeaseClient::new(service).lease_leases(pb::LeaseLeasesRequest {}).await
        });
        asked.await
    }

    /// Renews a lease, once; the answer's TTL is what begins anew.
    ///
    /// # Errors
    ///
    /// See [`Client::read`], and [`Error::LeaseLost`].
    pub async fn keep_alive_once(&self, id: i64) -> Result<pb::LeaseKeepAliveResponse, Error> {
        self.renew(id, self.options.call_timeout).await.map(|(_, answer)| answer)
    }

    /// Renews a lease until the guard is dropped.
    #[must_use]
    pub fn keep_alive(&self, lease: &Lease) -> KeepAlive {
        let valid_until = valid_until(lease.asked, lease.ttl);
        let (sender, state) = watch::channel(State { valid_until, ttl: lease.ttl, over: false });
        let (client, id) = (self.clone(), lease.id);
        let task = tokio::spawn(async move { client.renew_until_lost(id, &sender).await });
        KeepAlive { id, state, task }
    }

    /// Renews a lease; also tells when the attempt was sent that was answered.
    async fn renew(
        &self,
        id: i64,
        limit: Duration,
    ) -> Result<(Instant, pb::LeaseKeepAliveResponse), Error> {
        let sent = Mutex::new(Instant::now());
        let asked = self.read_within(Some(limit), |service| {
            *sent.lock() = Instant::now();
            renewal(service, id)
        });
        let answer = asked.await?;
        self.saw(answer.header.as_ref());
        if answer.ttl <= 0 {
            return Err(Error::LeaseLost { id });
        }
        Ok((*sent.lock(), answer))
    }

    async fn renew_until_lost(&self, id: i64, state: &watch::Sender<State>) {
        loop {
            let State { valid_until, ttl, .. } = *state.borrow();
            let left = valid_until.saturating_duration_since(Instant::now());
            sleep(left.min(ttl / 3)).await;
            let renewed = self.renew_in_time(id, (valid_until, ttl)).await;
            match renewed {
                // A lease that was lost here for a moment stays lost.
                Some((sent, ttl)) if Instant::now() < valid_until => {
                    let valid_until = self::valid_until(sent, ttl);
                    state.send_replace(State { valid_until, ttl, over: false });
                }
                _ => {
                    state.send_modify(|state| state.over = true);
                    return;
                }
            }
        }
    }

    /// Tries until a renewal is answered or it is too late.
    async fn renew_in_time(
        &self,
        id: i64,
        (valid_until, ttl): (Instant, Duration),
    ) -> Option<(Instant, Duration)> {
        loop {
            let left = valid_until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            match self.renew(id, left).await {
                Ok((sent, answer)) => return Some((sent, seconds_of(answer.ttl))),
                Err(error) if is_lost(&error) => return None,
                Err(_) => sleep(left.min(ttl / 10)).await,
            }
        }
    }
}

/// Keeps a lease alive: renews it three times in its TTL, until it is dropped.
///
/// It holds the lease for over when nine tenths of the TTL have passed since the last renewal that
/// was answered was *sent*. The server counts from later, so it never ends a lease before that,
/// unless somebody revokes it.
#[derive(Debug)]
pub struct KeepAlive {
    id: i64,
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    valid_until: Instant,
    ttl: Duration,
    over: bool,
}

impl KeepAlive {
    /// The id of the lease.
    #[must_use]
    pub const fn id(&self) -> i64 {
        self.id
    }

    /// How long the lease may still be counted on; zero if it is lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let state = *self.state.borrow();
        if state.over {
            return Duration::ZERO;
        }
        state.valid_until.saturating_duration_since(Instant::now())
    }

    /// Whether the lease may still be counted on.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// Waits until the lease is lost.
    pub async fn lost(&self) {
        let mut state = self.state.clone();
        loop {
            let State { valid_until, over, .. } = *state.borrow_and_update();
            if over || valid_until <= Instant::now() {
                return;
            }
            tokio::select! {
                () = sleep_until(valid_until) => {}
                changed = state.changed() => if changed.is_err() { return },
            }
        }
    }
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A tenth of the TTL is for clocks that do not run alike.
fn valid_until(sent: Instant, ttl: Duration) -> Instant {
    sent + ttl - ttl / 10
}

/// Never so long that adding it to an instant overflows.
fn seconds_of(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0).min(1 << 34))
}

/// Whether the server says that there is no such lease.
pub(crate) fn is_lost(error: &Error) -> bool {
    matches!(error, Error::LeaseLost { .. })
        || error.refusal().and_then(Refusal::etcd) == Some(EtcdError::LeaseNotFound)
}

/// A stream for one renewal: so it goes to whichever member answers, as any other call.
async fn renewal(
    service: Service,
    id: i64,
) -> Result<Response<pb::LeaseKeepAliveResponse>, Status> {
    let requests = iter([pb::LeaseKeepAliveRequest { id }]).chain(pending());
    let mut answers = LeaseClient::new(service).lease_keep_alive(requests).await?.into_inner();
    let ended = || Status::unavailable("the stream ended before the renewal was answered");
    answers.message().await?.map(Response::new).ok_or_else(ended)
}

#[cfg(test)]
mod tests;
