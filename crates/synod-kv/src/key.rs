//! Keys and ranges of keys, with etcd's conventions for `range_end`.

use std::ops::Bound;

use bytes::Bytes;

/// A key: at least one byte.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Key(Bytes);

impl Key {
    /// Takes bytes as a key.
    ///
    /// # Errors
    /// If there are none.
    pub fn new(key: Bytes) -> Result<Self, EmptyKey> {
        if key.is_empty() { Err(EmptyKey) } else { Ok(Self(key)) }
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

/// A request named no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("key is not provided: a key has at least one byte")]
pub struct EmptyKey;

/// The keys a request is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyRange {
    /// One key.
    Single(Key),
    /// From `start` up to `end`, without `end`. Empty if `end` is not above `start`.
    Between {
        /// The first key.
        start: Key,
        /// The first key that no longer belongs to the range.
        end: Key,
    },
    /// `start` and every key above it. From the key of one zero byte: all keys.
    From(Key),
}

impl KeyRange {
    /// The range that etcd's `key` and `range_end` mean: no end for a single key, an end of one
    /// zero byte for everything from the key on.
    ///
    /// # Errors
    /// If the key is empty.
    pub fn new(key: Bytes, range_end: Bytes) -> Result<Self, EmptyKey> {
        let start = Key::new(key)?;
        Ok(match Key::new(range_end) {
            Err(EmptyKey) => Self::Single(start),
            Ok(end) if end.as_bytes().as_ref() == [0] => Self::From(start),
            Ok(end) => Self::Between { start, end },
        })
    }

    /// Every key there is.
    #[must_use]
    pub const fn all() -> Self {
        Self::From(Key(Bytes::from_static(&[0])))
    }

    /// Every key that begins with this prefix.
    ///
    /// # Errors
    /// If the prefix is empty: that is [`KeyRange::all`].
    pub fn prefix(prefix: Bytes) -> Result<Self, EmptyKey> {
        let start = Key::new(prefix)?;
        let mut end = start.as_bytes().to_vec();
        while end.pop_if(|last| *last == u8::MAX).is_some() {}
        let Some(last) = end.last_mut() else {
            return Ok(Self::From(start));
        };
        *last += 1;
        Ok(Self::Between { start, end: Key(Bytes::from(end)) })
    }

    /// The same, which keeps nothing else in memory that came with it.
    pub(crate) fn detached(&self) -> Self {
        let copy = |key: &Key| Key(Bytes::copy_from_slice(&key.0));
        match self {
            Self::Single(key) => Self::Single(copy(key)),
            Self::Between { start, end } => Self::Between { start: copy(start), end: copy(end) },
            Self::From(start) => Self::From(copy(start)),
        }
    }

    /// The key, or the first key of the range.
    #[must_use]
    pub const fn start(&self) -> &Key {
        match self {
            Self::Single(start) | Self::Between { start, .. } | Self::From(start) => start,
        }
    }

    /// Whether a key belongs to the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        let start = self.start().as_bytes().as_ref();
        match self {
            Self::Single(_) => key == start,
            Self::Between { end, .. } => start <= key && key < end.as_bytes().as_ref(),
            Self::From(_) => start <= key,
        }
    }

    /// Where the range ends, for a walk that begins at its start.
    pub(crate) fn end_bound(&self) -> Bound<&[u8]> {
        match self {
            Self::Single(key) => Bound::Included(key.as_bytes()),
            Self::Between { end, .. } => Bound::Excluded(end.as_bytes()),
            Self::From(_) => Bound::Unbounded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &[u8], end: &[u8]) -> KeyRange {
        KeyRange::new(Bytes::copy_from_slice(key), Bytes::copy_from_slice(end)).unwrap()
    }

    #[test]
    fn range_end_has_etcds_meaning() {
        type Row<'a> = (&'a [u8], &'a [u8], &'a [u8], bool);
        let table: [Row<'_>; 8] = [
            (b"a", b"", b"a", true),
            (b"a", b"", b"a\0", false),
            (b"a", b"c", b"b", true),
            (b"a", b"c", b"c", false),
            (b"c", b"a", b"b", false),
            (b"b", b"\0", b"zz", true),
            (b"b", b"\0", b"a", false),
            (b"\0", b"\0", b"\0", true),
        ];
        for (key, end, probe, inside) in table {
            assert_eq!(range(key, end).contains(probe), inside, "{key:?} {end:?} {probe:?}");
        }
        assert_eq!(KeyRange::new(Bytes::new(), Bytes::from_static(b"z")), Err(EmptyKey));
    }

    #[test]
    fn prefix_ends_after_its_last_key() {
        let prefix = |p: &'static [u8]| KeyRange::prefix(Bytes::from_static(p)).unwrap();
        assert_eq!(prefix(b"ab"), range(b"ab", b"ac"));
        assert_eq!(prefix(b"a\xff"), range(b"a\xff", b"b"));
        assert_eq!(prefix(b"\xff\xff"), range(b"\xff\xff", b"\0"));
    }
}
