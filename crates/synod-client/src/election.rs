//! Offices that one of many holds.

use std::time::Duration;

use bytes::Bytes;
use synod_etcd::Refusal;
use synod_etcd::proto::mvccpb::KeyValue;
use synod_etcd::proto::v3electionpb as pb;
use synod_etcd::proto::v3electionpb::election_client::ElectionClient;
use tonic::Code;

use crate::client::Client;
use crate::error::Error;
use crate::session::Session;
use crate::txn::Compare;

/// An office that is held, for as long as [`Leadership::is_valid`] says so. What was said of
/// [`crate::Lock`] holds here too. Dropped, it is resigned in the background.
#[derive(Debug)]
pub struct Leadership {
    session: Session,
    key: pb::LeaderKey,
}

impl Client {
    /// Waits for an office, without an end, and proclaims this value in it.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`] if no member could be reached for nearly the TTL. Dropping the future
    /// gives the place in the queue back.
    pub async fn campaign(
        &self,
        name: impl Into<Bytes>,
        value: impl Into<Bytes>,
        ttl: Duration,
    ) -> Result<Leadership, Error> {
        let session = Session::open(self, ttl).await?;
        let request =
            pb::CampaignRequest { name: name.into(), lease: session.id(), value: value.into() };
        let turn = || {
            self.read_within(None, |service| {
                let request = request.clone();
                async move { ElectionClient::new(service).campaign(request).await }
            })
        };
        let answer = session.wait(turn).await?;
        self.saw(answer.header.as_ref());
        let missing = || Refusal::own(Code::Internal, "synod: a campaign was won without a key");
        let key = answer.leader.ok_or_else(missing).map_err(Error::Refused)?;
        Ok(Leadership { session, key })
    }

    /// Who holds an office: the key of its holder, and what it proclaims; `None` if nobody does.
    ///
    /// # Errors
    ///
    /// See [`Client::read`].
    pub async fn leader(&self, name: impl Into<Bytes>) -> Result<Option<KeyValue>, Error> {
        let request = pb::LeaderRequest { name: name.into() };
        let asked = self.read(|service| {
            let request = request.clone();
            async move { ElectionClient::new(service).leader(request).await }
        });
        match asked.await {
            Ok(answer) => Ok(answer.kv),
            Err(error) if is_vacant(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// As etcd's service of elections says it.
fn is_vacant(error: &Error) -> bool {
    error.refusal().is_some_and(|refusal| refusal.text() == "election: no leader")
}

impl Leadership {
    /// The key that exists as long as the office is held.
    #[must_use]
    pub const fn key(&self) -> &Bytes {
        &self.key.key
    }

    /// Rises from holder to holder.
    #[must_use]
    pub const fn token(&self) -> i64 {
        self.key.rev
    }

    /// Whether the office was held a moment ago. It turns false before others can have it.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.session.keep_alive().is_valid()
    }

    /// Waits until it is lost.
    pub async fn lost(&self) {
        self.session.keep_alive().lost().await;
    }

    /// True, for a transaction, as long as the office is held.
    #[must_use]
    pub fn held(&self) -> Compare {
        Compare::create_revision(self.key.key.clone()).equal(self.key.rev)
    }

    /// Proclaims another value.
    ///
    /// # Errors
    ///
    /// See [`Client::write`].
    pub async fn proclaim(&self, value: impl Into<Bytes>) -> Result<(), Error> {
        let request = pb::ProclaimRequest { leader: Some(self.key.clone()), value: value.into() };
        let client = self.session.client();
        let asked = client.write(|service| {
            let request = request.clone();
            async move { ElectionClient::new(service).proclaim(request).await }
        });
        let answer = asked.await?;
        client.saw(answer.header.as_ref());
        Ok(())
    }

    /// Gives the office back; when it returns others can have it.
    ///
    /// # Errors
    ///
    /// If no member answers: then it ends with its TTL.
    pub async fn resign(self) -> Result<(), Error> {
        self.session.give_back().await
    }
}
