//! Reading and writing keys: etcd's requests, spelled in words.

use bytes::Bytes;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::range_request::{SortOrder, SortTarget};

use crate::call::Service;
use crate::client::{ANSWER_BYTES_MAX, Client};
use crate::error::Error;

/// Which keys: the first, and the first behind, as etcd writes it.
pub(crate) type Keys = (Bytes, Bytes);

/// All keys that begin so. With an empty prefix: all.
pub(crate) fn prefix(prefix: Bytes) -> Keys {
    if prefix.is_empty() {
        return (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    }
    let mut end = prefix.to_vec();
    while end.pop_if(|last| *last == 0xff).is_some() {}
    match end.last_mut() {
        Some(last) => *last += 1,
        // Nothing is above: to the end of all keys.
        None => end.push(0),
    }
    (prefix, end.into())
}

/// Adds the ways to name keys to a builder.
macro_rules! by_keys {
    ($builder:ident) => {
        impl $builder {
            /// One key.
            #[must_use]
            pub fn key(key: impl Into<Bytes>) -> Self {
                Self::of((key.into(), Bytes::new()))
            }

            /// All keys that begin so; all keys, if it is empty.
            #[must_use]
            pub fn prefix(prefix: impl Into<Bytes>) -> Self {
                Self::of($crate::kv::prefix(prefix.into()))
            }

            /// From the first key to just before the second.
            #[must_use]
            pub fn range(first: impl Into<Bytes>, behind: impl Into<Bytes>) -> Self {
                Self::of((first.into(), behind.into()))
            }

            /// This key and all above it.
            #[must_use]
            pub fn from_key(first: impl Into<Bytes>) -> Self {
                Self::of((first.into(), Bytes::from_static(b"\0")))
            }
        }
    };
}
pub(crate) use by_keys;

/// A read of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Get(pub(crate) pb::RangeRequest);
by_keys!(Get);

impl Get {
    fn of((key, range_end): Keys) -> Self {
        Self(pb::RangeRequest { key, range_end, ..Default::default() })
    }

    /// At most so many keys; the answer's `more` says whether there are others.
    #[must_use]
    pub const fn limit(mut self, keys: i64) -> Self {
        self.0.limit = keys;
        self
    }

    /// As of this revision.
    #[must_use]
    pub const fn at_revision(mut self, revision: i64) -> Self {
        self.0.revision = revision;
        self
    }

    /// In this order.
    #[must_use]
    pub const fn sorted(mut self, target: SortTarget, order: SortOrder) -> Self {
        self.0.sort_target = target as i32;
        self.0.sort_order = order as i32;
        self
    }

    /// From the memory of whichever member is asked, which may be behind.
    #[must_use]
    pub const fn serializable(mut self) -> Self {
        self.0.serializable = true;
        self
    }

    /// Without values.
    #[must_use]
    pub const fn keys_only(mut self) -> Self {
        self.0.keys_only = true;
        self
    }

    /// Only how many.
    #[must_use]
    pub const fn count_only(mut self) -> Self {
        self.0.count_only = true;
        self
    }
}

/// A write of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Put(pub(crate) pb::PutRequest);

impl Put {
    /// The key, and what it shall hold.
    #[must_use]
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self(pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() })
    }

    /// The key goes when this lease ends.
    #[must_use]
    pub const fn lease(mut self, id: i64) -> Self {
        self.0.lease = id;
        self
    }

    /// The key keeps the lease it has.
    #[must_use]
    pub const fn keep_lease(mut self) -> Self {
        self.0.ignore_lease = true;
        self
    }

    /// Answer what the key held before.
    #[must_use]
    pub const fn prev_kv(mut self) -> Self {
        self.0.prev_kv = true;
        self
    }
}

/// A deletion of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Delete(pub(crate) pb::DeleteRangeRequest);
by_keys!(Delete);

impl Delete {
    fn of((key, range_end): Keys) -> Self {
        Self(pb::DeleteRangeRequest { key, range_end, ..Default::default() })
    }

    /// Answer what the keys held.
    #[must_use]
    pub const fn prev_kv(mut self) -> Self {
        self.0.prev_kv = true;
        self
    }
}

/// Forgets the history before a revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Compact(pub(crate) pb::CompactionRequest);

impl Compact {
    /// This revision stays readable, those before it do not.
    #[must_use]
    pub const fn before(revision: i64) -> Self {
        Self(pb::CompactionRequest { revision, physical: false })
    }

    /// Answer when the space is reclaimed.
    #[must_use]
    pub const fn physical(mut self) -> Self {
        self.0.physical = true;
        self
    }
}

macro_rules! becomes {
    ($($builder:ident => $request:ident;)*) => {$(
        impl From<$builder> for pb::$request {
            fn from(builder: $builder) -> Self {
                builder.0
            }
        }
    )*};
}
becomes! {
    Get => RangeRequest;
    Put => PutRequest;
    Delete => DeleteRangeRequest;
    Compact => CompactionRequest;
}

fn kv(service: Service) -> KvClient<Service> {
    KvClient::new(service).max_decoding_message_size(ANSWER_BYTES_MAX)
}

/// Each of these takes a builder of this crate or etcd's own message.
impl Client {
    /// Reads.
    ///
    /// # Errors
    ///
    /// See [`Client::read`].
    pub async fn get(&self, get: impl Into<pb::RangeRequest>) -> Result<pb::RangeResponse, Error> {
        let get = get.into();
        let asked = self.read(|service| {
            let get = get.clone();
            async move { kv(service).range(get).await }
        });
        let answer = asked.await?;
        self.saw(answer.header.as_ref());
        Ok(answer)
    }

    /// Writes one key.
    ///
    /// # Errors
    ///
    /// See [`Client::write`].
    pub async fn put(&self, put: impl Into<pb::PutRequest>) -> Result<pb::PutResponse, Error> {
        let put = put.into();
        let asked = self.write(|service| {
            let put = put.clone();
            async move { kv(service).put(put).await }
        });
        let answer = asked.await?;
        self.saw(answer.header.as_ref());
        Ok(answer)
    }

    /// Deletes keys.
    ///
    /// # Errors
    ///
    /// See [`Client::write`].
    pub async fn delete(
        &self,
        delete: impl Into<pb::DeleteRangeRequest>,
    ) -> Result<pb::DeleteRangeResponse, Error> {
        let delete = delete.into();
        let asked = self.write(|service| {
            let delete = delete.clone();
            async move { kv(service).delete_range(delete).await }
        });
        let answer = asked.await?;
        self.saw(answer.header.as_ref());
        Ok(answer)
    }

    /// Compares, then does one of two lists of operations. A transaction that only reads is asked
    /// again as reads are.
    ///
    /// # Errors
    ///
    /// See [`Client::write`].
    pub async fn txn(&self, txn: impl Into<pb::TxnRequest>) -> Result<pb::TxnResponse, Error> {
        let txn = txn.into();
        let ask = |service| {
            let txn = txn.clone();
            async move { kv(service).txn(txn).await }
        };
        let answer =
            if crate::txn::only_reads(&txn) { self.read(ask).await } else { self.write(ask).await };
        let answer = answer?;
        self.saw(answer.header.as_ref());
        Ok(answer)
    }

    /// Forgets history.
    ///
    /// # Errors
    ///
    /// See [`Client::write`].
    pub async fn compact(
        &self,
        compact: impl Into<pb::CompactionRequest>,
    ) -> Result<pb::CompactionResponse, Error> {
        let compact = compact.into();
        let asked = self.write(|service| async move { kv(service).compact(compact).await });
        let answer = asked.await?;
        self.saw(answer.header.as_ref());
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_no_key_begins_so() {
        let table: [(&[u8], &[u8]); 5] = [
            (b"a", b"b"),
            (b"a/", b"a0"),
            (b"a\xff", b"b"),
            (b"a\xff\xff", b"b"),
            (b"\xff\xff", b"\0"),
        ];
        for (given, end) in table {
            let given = Bytes::from_static(given);
            assert_eq!(prefix(given.clone()), (given, Bytes::from_static(end)));
        }
        assert_eq!(prefix(Bytes::new()), ("\0".into(), "\0".into()));
    }
}
