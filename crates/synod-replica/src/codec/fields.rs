//! The codec of what fields are made of: numbers, ids, ballots, slots, lists.

use bytes::Bytes;
use synod_paxos::{Ballot, Incarnation, LogTime, Peer, Prefix, ReplicaId, Slot};

use super::wire::{Codec, DecodeError, Reader, Sink};

/// Implements [`Codec`] for a struct by its fields in order. A field that is added does not compile
/// until it is listed here.
macro_rules! codec_of_fields {
    ($($type:ident { $($field:ident),* })*) => { $(
        impl Codec for $type {
            fn encode<S: Sink>(&self, out: &mut S) {
                let Self { $($field),* } = self;
                $($field.encode(out);)*
            }

            fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
                $(let $field = Codec::decode(input)?;)*
                Ok(Self { $($field),* })
            }
        }
    )* };
}
pub(super) use codec_of_fields;

codec_of_fields! {
    Ballot { round, replica }
    Peer { id, incarnation }
    Prefix { end, barrier, time }
}

impl Codec for u64 {
    fn encode<S: Sink>(&self, out: &mut S) {
        let mut rest = *self;
        let mut bytes = [0u8; 10];
        let mut length = 0;
        for byte in &mut bytes {
            let [low, ..] = rest.to_le_bytes();
            rest >>= 7;
            length += 1;
            if rest == 0 {
                *byte = low;
                break;
            }
            *byte = low | 0x80;
        }
        out.put(&bytes[..length]);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        input.varint()
    }
}

impl Codec for Bytes {
    fn encode<S: Sink>(&self, out: &mut S) {
        encode_count(self.len(), out);
        out.put_payload(self);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        input.payload()
    }
}

impl<T: Codec> Codec for Option<T> {
    fn encode<S: Sink>(&self, out: &mut S) {
        match self {
            None => out.put(&[0]),
            Some(value) => {
                out.put(&[1]);
                value.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        match input.u8()? {
            0 => Ok(None),
            1 => T::decode(input).map(Some),
            found => Err(DecodeError::Tag { of: "option", found }),
        }
    }
}

impl Codec for ReplicaId {
    fn encode<S: Sink>(&self, out: &mut S) {
        out.put(&self.as_u64().to_le_bytes());
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self::new(u64::from_le_bytes(input.array()?)))
    }
}

impl Codec for Incarnation {
    fn encode<S: Sink>(&self, out: &mut S) {
        out.put(&self.as_u64().to_le_bytes());
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self::new(u64::from_le_bytes(input.array()?)))
    }
}

impl Codec for Slot {
    fn encode<S: Sink>(&self, out: &mut S) {
        self.as_u64().encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        match input.varint()? {
            0 => Err(DecodeError::SlotZero),
            slot => Ok(Self::new(slot)),
        }
    }
}

impl Codec for LogTime {
    fn encode<S: Sink>(&self, out: &mut S) {
        self.as_millis().encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        input.varint().map(Self::from_millis)
    }
}

/// Peers by rising id, each at most once.
impl Codec for Vec<Peer> {
    fn encode<S: Sink>(&self, out: &mut S) {
        encode_list(self, out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let peers: Self = decode_list(input, "peers", 16)?;
        expect_rising(&peers, "peers", |peer| peer.id)?;
        Ok(peers)
    }
}

/// Writes a count and as many items.
pub(super) fn encode_list<T: Codec, S: Sink>(items: &[T], out: &mut S) {
    encode_count(items.len(), out);
    for item in items {
        item.encode(out);
    }
}

/// Reads a count and as many items, of at least `bytes_min` bytes each.
pub(super) fn decode_list<T: Codec, L: FromIterator<T>>(
    input: &mut Reader,
    of: &'static str,
    bytes_min: usize,
) -> Result<L, DecodeError> {
    let count = input.count(of, bytes_min)?;
    (0..count).map(|_| T::decode(input)).collect()
}

/// Refuses a list whose keys do not rise.
pub(super) fn expect_rising<T, K: Ord>(
    items: &[T],
    of: &'static str,
    key: impl Fn(&T) -> K,
) -> Result<(), DecodeError> {
    if items.is_sorted_by(|a, b| key(a) < key(b)) {
        Ok(())
    } else {
        Err(DecodeError::Unordered { of })
    }
}

fn encode_count<S: Sink>(count: usize, out: &mut S) {
    u64::try_from(count).expect("a usize has at most 64 bits").encode(out);
}
