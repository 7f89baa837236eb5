//! Answers that are encoded piece by piece, as their ranges are read.
//!
//! How long an answer is must be said before it begins. What a range holds was measured by
//! [`weigh`], so that is known; the values come later, and memory never holds them all.
//!
//! The fields of a message may stand in any order, and lists may be told entry by entry. So all
//! that is known at once comes first, and the keys follow.

use prost::Message;
use prost::encoding::{self, WireType, encoded_len_varint};
use synod_kv::{
    Engine, KeyValue, OpPages, PageLimits, RangeFacts, RangePages, ReadError, TxnPages,
};

use super::{Stamp, keys, part_header};
use crate::proto::{etcdserverpb as pb, mvccpb};

/// The fields of messages that hold others.
const RANGE_KVS: u32 = 2;
const TXN_RESPONSES: u32 = 3;
const OP_RANGE: u32 = 1;
const OP_TXN: u32 = 4;
const STREAM_RANGE: u32 = 1;

/// An answer that is not read yet.
#[derive(Debug)]
pub struct Pieces<E> {
    /// In the order in which they go out.
    pieces: std::collections::VecDeque<Piece<E>>,
    /// Bytes of all of them.
    len: u64,
}

#[derive(Debug)]
enum Piece<E> {
    Known(Vec<u8>),
    Range(RangePages<E>),
}

/// How many bytes a key takes in an answer, if its value is so long.
#[must_use]
pub fn weigh(kv: &KeyValue, value: u64) -> u64 {
    let rest = number(mvccpb::KeyValue::from(kv.clone()).encoded_len());
    let body = rest + if value == 0 { 0 } else { field_len(value) };
    field_len(body)
}

/// The length of a field of so many bytes. Those meant here have one byte of a tag.
fn field_len(body: u64) -> u64 {
    1 + number(encoded_len_varint(body)) + body
}

/// The answer to a range that was measured by [`weigh`].
#[must_use]
pub fn range<E: Engine>(stamp: Stamp, pages: RangePages<E>) -> Pieces<E> {
    let facts = pages.facts();
    Pieces::range(stamp.header(facts.revision), pages)
}

/// The answer to a transaction whose ranges were measured by [`weigh`].
#[must_use]
pub fn txn<E: Engine>(stamp: Stamp, pages: TxnPages<E>) -> Pieces<E> {
    Pieces::txn(stamp.header(pages.revision), pages)
}

/// One message of a stream of a range's keys: `kvs` are those of [`Pieces::stream`], behind room
/// for what comes before them, whose length is returned. As in etcd, the last one has what the
/// answer to a range would say besides.
///
/// # Panics
/// If there is no room.
pub fn stream_message(kvs: &mut Vec<u8>, room: usize, last: Option<(Stamp, RangeFacts)>) -> usize {
    if let Some((stamp, facts)) = last {
        head(stamp.header(facts.revision), facts).encode(kvs).expect("vectors have room");
    }
    let mut before = Vec::new();
    encoding::encode_key(STREAM_RANGE, WireType::LengthDelimited, &mut before);
    encoding::encode_varint(number(kvs.len() - room), &mut before);
    kvs[room - before.len()..room].copy_from_slice(&before);
    before.len()
}

/// All of an answer but its keys.
fn head(header: pb::ResponseHeader, facts: RangeFacts) -> pb::RangeResponse {
    let RangeFacts { count, more, .. } = facts;
    pb::RangeResponse { header: Some(header), kvs: Vec::new(), more, count: keys(count) }
}

impl<E: Engine> Pieces<E> {
    /// The keys of a range alone, for [`stream_message`].
    #[must_use]
    pub fn stream(pages: RangePages<E>) -> Self {
        Self { len: pages.facts().bytes, pieces: [Piece::Range(pages)].into() }
    }

    /// Bytes of the answer.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether all of it was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// How much is read at least, when it is read on.
    ///
    /// # Errors
    /// If a range cannot be read any more.
    pub fn next_len(&mut self) -> Result<u64, ReadError<E::Error>> {
        match self.pieces.front_mut() {
            Some(Piece::Known(bytes)) => Ok(number(bytes.len())),
            Some(Piece::Range(pages)) => Ok(pages.next_weight()?.unwrap_or(0)),
            None => Ok(0),
        }
    }

    /// Its ranges.
    pub fn ranges(&mut self) -> impl Iterator<Item = &mut RangePages<E>> {
        self.pieces.iter_mut().filter_map(|piece| match piece {
            Piece::Range(pages) => Some(pages),
            Piece::Known(_) => None,
        })
    }

    /// Reads on until `limits` are reached, and appends what it has read. A key is read whole,
    /// however large.
    ///
    /// # Errors
    /// If a range cannot be read any more.
    pub fn read(
        &mut self,
        limits: PageLimits,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError<E::Error>> {
        let start = out.len();
        while let Some(piece) = self.pieces.front_mut() {
            let used = number(out.len() - start);
            if used > 0 && used >= limits.bytes_max {
                return Ok(());
            }
            match piece {
                Piece::Known(bytes) => out.extend_from_slice(bytes),
                Piece::Range(pages) => {
                    let bytes_max = limits.bytes_max.saturating_sub(used);
                    pages.next_page(PageLimits { bytes_max, ..limits }, &mut |kv| {
                        encode_kv(kv, out);
                    })?;
                    if !pages.is_done() {
                        return Ok(());
                    }
                }
            }
            self.pieces.pop_front();
        }
        Ok(())
    }

    fn range(header: pb::ResponseHeader, pages: RangePages<E>) -> Self {
        let facts = pages.facts();
        let mut all = Self::known(head(header, facts).encode_to_vec());
        all.len += facts.bytes;
        all.pieces.push_back(Piece::Range(pages));
        all
    }

    fn txn(header: pb::ResponseHeader, pages: TxnPages<E>) -> Self {
        let TxnPages { revision: _, succeeded, ops } = pages;
        let begin = pb::TxnResponse { header: Some(header), succeeded, responses: Vec::new() };
        let mut all = Self::known(begin.encode_to_vec());
        for op in ops {
            let (field, inner) = match op {
                OpPages::Range(pages) => {
                    (OP_RANGE, Self::range(part_header(pages.facts().revision), pages))
                }
                OpPages::Txn(pages) => (OP_TXN, Self::txn(pb::ResponseHeader::default(), pages)),
            };
            all.append(inner.within(field).within(TXN_RESPONSES));
        }
        all
    }

    fn known(bytes: Vec<u8>) -> Self {
        Self { len: number(bytes.len()), pieces: [Piece::Known(bytes)].into() }
    }

    /// The message as a field of another.
    fn within(self, field: u32) -> Self {
        let mut before = Vec::new();
        encoding::encode_key(field, WireType::LengthDelimited, &mut before);
        encoding::encode_varint(self.len, &mut before);
        let mut all = Self::known(before);
        all.append(self);
        all
    }

    fn append(&mut self, other: Self) {
        self.len += other.len;
        self.pieces.extend(other.pieces);
    }
}

/// Takes no more memory than it must: a value may be large.
fn encode_kv(kv: KeyValue, out: &mut Vec<u8>) {
    let kv = mvccpb::KeyValue::from(kv);
    out.reserve_exact(encoding::message::encoded_len(RANGE_KVS, &kv));
    encoding::message::encode(RANGE_KVS, &kv, out);
}

fn number(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
