//! A lease of one holder: kept alive, and given back when the holder goes.

use std::time::Duration;

use tokio::runtime::Handle;

use crate::client::Client;
use crate::error::Error;
use crate::lease::{KeepAlive, is_lost};

/// A lease that is renewed as long as this lives, and revoked with it.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    keep_alive: KeepAlive,
    is_given_back: bool,
}

impl Session {
    pub(crate) async fn open(client: &Client, ttl: Duration) -> Result<Self, Error> {
        let lease = client.grant(ttl).await?;
        let keep_alive = client.keep_alive(&lease);
        Ok(Self { client: client.clone(), keep_alive, is_given_back: false })
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) const fn keep_alive(&self) -> &KeepAlive {
        &self.keep_alive
    }

    pub(crate) const fn id(&self) -> i64 {
        self.keep_alive.id()
    }

    /// Waits for a call that waits for its turn, as long as the lease lives.
    pub(crate) async fn wait<T, Turn>(&self, turn: impl Fn() -> Turn) -> Result<T, Error>
    where
        Turn: Future<Output = Result<T, Error>>,
    {
        tokio::select! {
            () = self.keep_alive.lost() => Err(Error::LeaseLost { id: self.id() }),
            answer = self.wait_again(turn) => answer,
        }
    }

    /// A member to which the connection broke gives the place in the queue back, maybe only when
    /// another one has found it and waits there. Then the lease stands, and a new place is taken.
    async fn wait_again<T, Turn>(&self, turn: impl Fn() -> Turn) -> Result<T, Error>
    where
        Turn: Future<Output = Result<T, Error>>,
    {
        loop {
            match turn().await {
                Err(error) if is_lost(&error) || is_expired(&error) => {
                    let left = self.client.time_to_live(self.id(), false).await?.ttl;
                    if left <= 0 {
                        return Err(Error::LeaseLost { id: self.id() });
                    }
                }
                answer => return answer,
            }
        }
    }

    /// Revokes the lease: its keys go at once.
    pub(crate) async fn give_back(mut self) -> Result<(), Error> {
        let revoked = self.client.revoke(self.id()).await;
        match revoked {
            Err(error) if !is_lost(&error) => Err(error),
            _ => {
                self.is_given_back = true;
                Ok(())
            }
        }
    }
}

/// As etcd's service of locks says it.
fn is_expired(error: &Error) -> bool {
    error.refusal().is_some_and(|refusal| refusal.text() == "mutex: session is expired")
}

/// Revokes in the background, as well as it can; if it cannot, the lease ends by its TTL.
impl Drop for Session {
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else { return };
        if !self.is_given_back {
            let (client, id) = (self.client.clone(), self.id());
            runtime.spawn(async move { client.revoke(id).await });
        }
    }
}
