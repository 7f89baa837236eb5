//! A running digest of what the store applied, to notice a member that differs.
//!
//! It guards against faults, not against forgery: sixteen bytes per multiplication, so that it
//! costs next to nothing beside the change it covers.

use crate::revision::Position;
use crate::versions::Version;

/// 64 bits that depend on everything folded in, and on its order.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Digest(u64);

/// Odd numbers without structure: the fractions of the square roots of 2 and 3.
const ROOT_2: u64 = 0x6a09_e667_f3bc_c909;
const ROOT_3: u64 = 0xbb67_ae85_84ca_a73b;

impl Digest {
    /// The digest with this number.
    pub(crate) const fn new(digest: u64) -> Self {
        Self(digest)
    }

    /// The number.
    pub(crate) const fn as_u64(self) -> u64 {
        self.0
    }

    /// Folds in two numbers.
    pub(crate) fn pair(&mut self, a: u64, b: u64) {
        let product = u128::from(a ^ ROOT_2 ^ self.0) * u128::from(b ^ ROOT_3);
        let [low, high] = halves(product);
        self.0 = (self.0.rotate_left(29) ^ low ^ high).wrapping_mul(ROOT_3).wrapping_add(ROOT_2);
    }

    /// Folds in bytes, and how many there are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(16);
        for chunk in &mut chunks {
            self.chunk(chunk);
        }
        self.chunk(chunks.remainder());
        self.pair(u64::try_from(bytes.len()).unwrap_or(u64::MAX), 0);
    }

    /// Folds in a change of a key.
    pub(crate) fn change(&mut self, key: &[u8], value: &[u8], version: &Version) {
        let Position { revision, sub } = version.at;
        self.pair(revision.as_i64().cast_unsigned(), u64::from(sub));
        if let Some(live) = version.live {
            self.pair(live.create.as_i64().cast_unsigned(), live.version.cast_unsigned());
            self.pair(live.lease.cast_unsigned(), 1);
        }
        self.bytes(key);
        self.bytes(value);
    }

    fn chunk(&mut self, chunk: &[u8]) {
        let mut padded = [0; 16];
        padded[..chunk.len()].copy_from_slice(chunk);
        let [low, high] = halves(u128::from_le_bytes(padded));
        self.pair(low, high);
    }
}

fn halves(number: u128) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = number.to_le_bytes();
    [u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes(rest)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> u64 {
        let mut digest = Digest::default();
        digest.bytes(bytes);
        digest.as_u64()
    }

    #[test]
    fn every_bit_and_the_length_count() {
        let bytes: Vec<u8> = (0..100).collect();
        for length in 0..=bytes.len() {
            for bit in 0..length * 8 {
                let mut flipped = bytes[..length].to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(of(&flipped), of(&bytes[..length]), "length {length}, bit {bit}");
            }
        }
        assert_ne!(of(&[0; 3]), of(&[0; 4]));
    }

    #[test]
    fn order_counts() {
        let (mut ab, mut ba) = (Digest::default(), Digest::default());
        ab.pair(1, 2);
        ab.pair(3, 4);
        ba.pair(3, 4);
        ba.pair(1, 2);
        assert_ne!(ab, ba);
    }

    /// Members of different builds compare digests: what it computes may not change unnoticed.
    #[test]
    fn golden() {
        assert_eq!(of(b"synod"), GOLDEN);
    }

    const GOLDEN: u64 = 11_398_159_832_590_274_483;
}
