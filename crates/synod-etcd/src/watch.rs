//! Watches: what a client asks for, and what it is sent.
//!
//! Events are encoded once, for all who watch them: a [`Block`] holds those of one revision as
//! they stand in a message, and a [`WatchReply`] is a small head of its own with shared blocks
//! behind it, sent one after the other. [`WatchCodec`] reads what is asked.

mod block;
mod reply;

use bytes::Bytes;
use synod_kv::{Key, KeyRange, Revision};

use crate::error::EtcdError;
use crate::proto::etcdserverpb as pb;

pub use block::{Block, encode_event};
pub use reply::{Heads, PREFIX_BYTES, WatchCodec, WatchReply, fragments, put_prefix};

/// A watch to be, understood.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WatchCreate {
    /// What to watch.
    pub keys: KeyRange,
    /// The first revision to tell; none to begin with the next one.
    pub start: Option<Revision>,
    /// The id the client chose; none if the server is to choose.
    pub watch_id: Option<i64>,
    /// Which events, and how.
    pub flavor: Flavor,
    /// Whether to tell now and then how far it has come.
    pub progress_notify: bool,
    /// Whether the events of one revision may come in several messages.
    pub fragment: bool,
}

/// What makes the events of one watch differ from those of another of the same keys.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash, Ord, PartialOrd)]
pub struct Flavor {
    /// Events tell what was there before.
    pub prev_kv: bool,
    /// No puts.
    pub no_put: bool,
    /// No deletions.
    pub no_delete: bool,
}

/// Why there will be no watch. The text is etcd's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WatchRefused {
    /// It begins before all history.
    #[error("{}", EtcdError::Compacted)]
    Compacted,
    /// No key can be in its range.
    #[error("mvcc: watcher range is empty")]
    EmptyRange,
    /// The stream has a watch of this id.
    #[error("mvcc: duplicate watch ID provided on the WatchStream")]
    IdInUse,
}

/// Understands the request for a watch.
///
/// # Errors
/// If it begins at a negative revision, or its range is empty.
pub fn create(request: &pb::WatchCreateRequest) -> Result<WatchCreate, WatchRefused> {
    use pb::watch_create_request::FilterType;
    let pb::WatchCreateRequest {
        key,
        range_end,
        start_revision,
        progress_notify,
        filters,
        prev_kv,
        watch_id,
        fragment,
    } = request;
    let start = Revision::named(*start_revision);
    if start.is_some_and(|start| start < Revision::ZERO) {
        return Err(WatchRefused::Compacted);
    }
    // Filters that nobody knows filter nothing, as in etcd.
    let has = |filter: FilterType| filters.contains(&i32::from(filter));
    Ok(WatchCreate {
        keys: keys(key, range_end)?,
        start,
        watch_id: (*watch_id != 0).then_some(*watch_id),
        flavor: Flavor {
            prev_kv: *prev_kv,
            no_put: has(FilterType::Noput),
            no_delete: has(FilterType::Nodelete),
        },
        progress_notify: *progress_notify,
        fragment: *fragment,
    })
}

/// No key stands for the lowest one. The bytes are copied: a watch lives long, and the buffer
/// that the request came in is larger than its key.
fn keys(key: &[u8], range_end: &[u8]) -> Result<KeyRange, WatchRefused> {
    let key = if key.is_empty() { &[0] } else { key };
    let copy = |bytes: &[u8]| Key::new(Bytes::copy_from_slice(bytes));
    let start = copy(key).map_err(|_| WatchRefused::EmptyRange)?;
    match range_end {
        [] => Ok(KeyRange::Single(start)),
        [0] => Ok(KeyRange::From(start)),
        end if end <= key => Err(WatchRefused::EmptyRange),
        end => {
            let end = copy(end).map_err(|_| WatchRefused::EmptyRange)?;
            Ok(KeyRange::Between { start, end })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &'static [u8], range_end: &'static [u8]) -> pb::WatchCreateRequest {
        pb::WatchCreateRequest {
            key: key.into(),
            range_end: range_end.into(),
            ..Default::default()
        }
    }

    #[test]
    fn ranges_are_etcds() {
        let single = |key: &'static [u8]| KeyRange::Single(Key::new(key.into()).unwrap());
        let from = |key: &'static [u8]| KeyRange::From(Key::new(key.into()).unwrap());
        let empty = Err(WatchRefused::EmptyRange);
        type Row = (&'static [u8], &'static [u8], Result<KeyRange, WatchRefused>);
        let table: [Row; 8] = [
            (b"a", b"", Ok(single(b"a"))),
            (b"", b"", Ok(single(b"\0"))),
            (b"a", b"\0", Ok(from(b"a"))),
            (b"", b"\0", Ok(from(b"\0"))),
            (b"a", b"a", empty.clone()),
            (b"b", b"a", empty),
            (b"a", b"b", Ok(KeyRange::new("a".into(), "b".into()).unwrap())),
            (b"", b"b", Ok(KeyRange::new("\0".into(), "b".into()).unwrap())),
        ];
        for (key, end, expected) in table {
            let created = create(&request(key, end)).map(|create| create.keys);
            assert_eq!(created, expected, "{key:?} {end:?}");
        }
    }

    /// etcd pull request 20707: a watch from revision -1 was taken for one from far ahead.
    #[test]
    fn a_negative_revision_counts_as_compacted() {
        for start_revision in [-1, -2, i64::MIN] {
            let request = pb::WatchCreateRequest { start_revision, ..request(b"a", b"") };
            let refused = create(&request).unwrap_err();
            let text = "etcdserver: mvcc: required revision has been compacted";
            assert_eq!(refused.to_string(), text);
        }
    }

    #[test]
    fn options_are_taken_over() {
        let request = pb::WatchCreateRequest {
            start_revision: 7,
            filters: vec![1, 0, 9],
            prev_kv: true,
            watch_id: -3,
            fragment: true,
            progress_notify: true,
            ..request(b"a", b"")
        };
        let create = create(&request).unwrap();
        let all = Flavor { prev_kv: true, no_put: true, no_delete: true };
        assert_eq!((create.start, create.flavor), (Some(Revision::new(7)), all));
        assert_eq!((create.watch_id, create.fragment), (Some(-3), true));
        assert!(create.progress_notify);
    }
}
