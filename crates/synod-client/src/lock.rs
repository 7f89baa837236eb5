//! Locks, with a fencing token: `docs/decisions/0010-leases-and-locks.md`.

use std::time::Duration;

use bytes::Bytes;
use synod_etcd::proto::v3lockpb::LockRequest;
use synod_etcd::proto::v3lockpb::lock_client::LockClient;

use crate::client::Client;
use crate::error::Error;
use crate::kv::Get;
use crate::session::Session;
use crate::txn::Compare;

/// A lock that is held, for as long as [`Lock::is_valid`] says so.
///
/// A holder that is paused, between asking whether the lock is valid and what it does then, does
/// not know that it has lost it. Whatever it changes must check: what is stored in the cluster by a
/// transaction with [`Lock::held`], anything else by refusing a [`Lock::token`] below the highest
/// it has seen.
///
/// Dropped, it is unlocked in the background.
#[derive(Debug)]
pub struct Lock {
    session: Session,
    key: Bytes,
    token: i64,
}

impl Client {
    /// Waits for a lock, without an end; the queue is that of etcd's own clients. The TTL is how
    /// long others wait if this holder disappears.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`] if no member could be reached for nearly the TTL. Dropping the future
    /// gives the place in the queue back.
    pub async fn lock(&self, name: impl Into<Bytes>, ttl: Duration) -> Result<Lock, Error> {
        let session = Session::open(self, ttl).await?;
        let request = LockRequest { name: name.into(), lease: session.id() };
        // With its lease it finds the place again that it has.
        let turn = || {
            self.read_within(None, |service| {
                let request = request.clone();
                async move { LockClient::new(service).lock(request).await }
            })
        };
        let answer = session.wait(turn).await?;
        self.saw(answer.header.as_ref());
        let token = match answer.fencing_token {
            // etcd does not tell it.
            0 => self.created(&answer.key, &session).await?,
            token => token,
        };
        Ok(Lock { session, key: answer.key, token })
    }

    async fn created(&self, key: &Bytes, session: &Session) -> Result<i64, Error> {
        let found = self.get(Get::key(key.clone())).await?;
        let kv = found.kvs.first().ok_or_else(|| Error::LeaseLost { id: session.id() })?;
        Ok(kv.create_revision)
    }
}

impl Lock {
    /// The key that exists as long as the lock is held.
    #[must_use]
    pub const fn key(&self) -> &Bytes {
        &self.key
    }

    /// Rises from holder to holder.
    #[must_use]
    pub const fn token(&self) -> i64 {
        self.token
    }

    /// The lease of the key.
    #[must_use]
    pub const fn lease(&self) -> i64 {
        self.session.id()
    }

    /// Whether the lock was held a moment ago. It turns false before others can have the lock.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.session.keep_alive().is_valid()
    }

    /// How long it certainly remains held if it cannot be renewed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.session.keep_alive().remaining()
    }

    /// Waits until it is lost.
    pub async fn lost(&self) {
        self.session.keep_alive().lost().await;
    }

    /// True, for a transaction, as long as the lock is held.
    #[must_use]
    pub fn held(&self) -> Compare {
        Compare::create_revision(self.key.clone()).equal(self.token)
    }

    /// Gives it back; when it returns others can have it.
    ///
    /// # Errors
    ///
    /// If no member answers: then it ends with its TTL.
    pub async fn unlock(self) -> Result<(), Error> {
        self.session.give_back().await
    }
}
