//! Numbers of the format, and meta pages.

use bytes::{Buf, BufMut, BytesMut};

/// Bytes of a page that is written here.
pub const PAGE_BYTES: usize = 4096;

pub(crate) const PAGE_HEADER_BYTES: usize = 16;
pub(crate) const ELEMENT_BYTES: usize = 16;
pub(crate) const META_BYTES: usize = 64;

pub(crate) const BRANCH: u16 = 1;
pub(crate) const LEAF: u16 = 2;
pub(crate) const META: u16 = 4;
pub(crate) const FREE: u16 = 16;

/// The flag of an entry that is a bucket.
pub(crate) const BUCKET_ENTRY: u32 = 1;
/// Root and sequence of a bucket.
pub(crate) const BUCKET_BYTES: usize = 16;

const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;

/// What a meta page says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Meta {
    pub(crate) page_bytes: u32,
    pub(crate) root: u64,
    pub(crate) free: u64,
    pub(crate) pages: u64,
    pub(crate) transaction: u64,
}

impl Meta {
    pub(crate) fn encode(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(META_BYTES);
        out.put_u32_le(MAGIC);
        out.put_u32_le(VERSION);
        out.put_u32_le(self.page_bytes);
        out.put_u32_le(0);
        out.put_u64_le(self.root);
        out.put_u64_le(0);
        out.put_u64_le(self.free);
        out.put_u64_le(self.pages);
        out.put_u64_le(self.transaction);
        out.put_u64_le(fnv1a(&out));
        out
    }

    /// None if these bytes are no meta page that is whole.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, mut hash) = bytes.get(..META_BYTES)?.split_at(META_BYTES - 8);
        let mut input = content;
        let known = input.get_u32_le() == MAGIC && input.get_u32_le() == VERSION;
        if !known || hash.get_u64_le() != fnv1a(content) {
            return None;
        }
        let page_bytes = input.get_u32_le();
        let _flags = input.get_u32_le();
        let root = input.get_u64_le();
        let _sequence = input.get_u64_le();
        let (free, pages) = (input.get_u64_le(), input.get_u64_le());
        Some(Self { page_bytes, root, free, pages, transaction: input.get_u64_le() })
    }
}

/// FNV-1a with 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the page of its authors.
    #[test]
    fn the_hash_is_fnv1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn every_bit_of_a_meta_page_counts() {
        let meta = Meta { page_bytes: 4096, root: 5, free: 2, pages: 6, transaction: 9 };
        let bytes = meta.encode();
        assert_eq!(Meta::decode(&bytes), Some(meta));
        for bit in 0..META_BYTES * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Meta::decode(&damaged), None, "bit {bit}");
        }
        assert_eq!(Meta::decode(&bytes[..63]), None);
    }
}
