//! A snapshot as a file, in chunks: from a view of the store to a database of bbolt.
//!
//! Two passes over the view: the first finds out how many pages there are, which the file's first
//! page says. Memory holds a page of each level of each bucket, and what goes to small buckets:
//! alarms and metadata.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use ring::digest::{Context, SHA256};
use synod_bolt::{Layout, Pages, Tree};
use synod_etcd::backend;
use synod_kv::{Record, RowError, SnapshotOrigin, SnapshotPoint, SnapshotView, StorageError};

use super::{BUCKET, FORMAT, ROW, STATE, TAKEN_FROM, TRANSACTION};

/// A snapshot on its way to a client. It holds the engine's view until it is dropped.
pub(crate) struct SnapshotFile<F> {
    view: SnapshotView<F>,
    origin: SnapshotOrigin,
    layout: Layout,
    hasher: Context,
    /// Encoded, and not given out.
    pending: BytesMut,
    content: Content,
    above: Option<Bytes>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Rows,
    Hash,
    End,
}

/// The pages of a database, as rows come.
struct Content {
    point: SnapshotPoint,
    pages: Pages,
    /// Buckets whose entries come in their order.
    trees: BTreeMap<&'static str, Tree>,
    /// Entries of the others.
    small: BTreeMap<(&'static str, Bytes), Bytes>,
}

impl<F> SnapshotFile<F> {
    /// Reads everything once, to know how large it is.
    pub(crate) fn open(
        view: SnapshotView<F>,
        origin: SnapshotOrigin,
    ) -> Result<Self, StorageError<F>> {
        let point = view.point();
        let mut first = Content::new(point);
        let mut above = None;
        while first.add(view.page(above.as_deref())?, &mut above)? {
            first.pages.discard();
        }
        let layout = first.finish(origin)?;
        let mut file = Self {
            view,
            origin,
            layout,
            hasher: Context::new(&SHA256),
            pending: BytesMut::new(),
            content: Content::new(point),
            above: None,
            stage: Stage::Rows,
        };
        file.put(&layout.front(TRANSACTION));
        Ok(file)
    }

    /// The state it is a snapshot of.
    pub(crate) const fn point(&self) -> SnapshotPoint {
        self.view.point()
    }

    /// How many bytes there are before the hash.
    pub(crate) fn bytes(&self) -> u64 {
        self.layout.bytes()
    }

    /// The next bytes: `bytes_max` of them, fewer before the hash and at the end, which is none.
    /// The hash comes alone.
    pub(crate) fn next_chunk(&mut self, bytes_max: usize) -> Result<Bytes, StorageError<F>> {
        while self.stage == Stage::Rows && self.pending.len() < bytes_max {
            self.encode_rows()?;
        }
        if self.pending.is_empty() && self.stage == Stage::Hash {
            self.stage = Stage::End;
            return Ok(Bytes::copy_from_slice(self.hasher.clone().finish().as_ref()));
        }
        let bytes = self.pending.len().min(bytes_max);
        Ok(self.pending.split_to(bytes).freeze())
    }

    fn encode_rows(&mut self) -> Result<(), StorageError<F>> {
        let page = self.view.page(self.above.as_deref())?;
        if !self.content.add(page, &mut self.above)? {
            let layout = self.content.finish(self.origin)?;
            assert!(layout == self.layout, "a view does not change: {layout:?}");
            self.stage = Stage::Hash;
        }
        let pages = self.content.pages.take();
        self.put(&pages);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.pending.put_slice(bytes);
    }
}

impl Content {
    fn new(point: SnapshotPoint) -> Self {
        let in_order = [backend::KEY, backend::LEASE, backend::AUTH_USERS, backend::AUTH_ROLES];
        let trees = in_order.into_iter().chain([BUCKET]).map(|name| (name, Tree::default()));
        Self { point, pages: Pages::default(), trees: trees.collect(), small: BTreeMap::new() }
    }

    /// Adds rows; false if there are none, which is the end.
    fn add<F>(
        &mut self,
        rows: Vec<(Bytes, Bytes)>,
        above: &mut Option<Bytes>,
    ) -> Result<bool, StorageError<F>> {
        for (key, value) in &rows {
            let record = Record::decode(key, value)?;
            match &record {
                Record::Change(_) => {}
                // It comes at the end, also if no row says it.
                Record::Point(_) => continue,
                _ => self.put(BUCKET, [ROW, key].concat().into(), value.clone()),
            }
            for (bucket, key, value) in backend::entries(record, self.point.time_ms) {
                self.put(bucket, key, value);
            }
        }
        let last = rows.into_iter().next_back();
        let more = last.is_some();
        if let Some((last, _)) = last {
            *above = Some(last);
        }
        Ok(more)
    }

    fn put(&mut self, bucket: &'static str, key: Bytes, value: Bytes) {
        match self.trees.get_mut(bucket) {
            Some(tree) => tree.put(&mut self.pages, key, value),
            None => drop(self.small.insert((bucket, key), value)),
        }
    }

    fn finish(&mut self, origin: SnapshotOrigin) -> Result<Layout, RowError> {
        let state = Record::Point(self.point);
        if let Some((_, row)) = state.encode()? {
            self.put(BUCKET, STATE.into(), row);
        }
        self.put(BUCKET, TAKEN_FROM.into(), encode_origin(origin));
        for (bucket, key, value) in backend::entries(state, self.point.time_ms) {
            self.put(bucket, key, value);
        }
        let mut trees = std::mem::take(&mut self.trees);
        for ((bucket, key), value) in std::mem::take(&mut self.small) {
            trees.entry(bucket).or_default().put(&mut self.pages, key, value);
        }
        let names = backend::BUCKETS.into_iter().chain([BUCKET]);
        let roots: Vec<_> = names
            .map(|name| (name, trees.remove(name).unwrap_or_default().finish(&mut self.pages)))
            .collect();
        Ok(self.pages.finish(&roots))
    }
}

fn encode_origin(origin: SnapshotOrigin) -> Bytes {
    let mut out = BytesMut::with_capacity(17);
    out.put_u8(FORMAT);
    out.put_u64_le(origin.cluster);
    out.put_u64_le(origin.member);
    out.freeze()
}
