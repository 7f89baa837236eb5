//! Sets of shared values that know their hashes, so that a state is cheap to copy and to hash.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A shared value with its hash.
#[derive(Debug)]
pub(crate) struct Hashed<T> {
    hash: u64,
    value: Arc<T>,
}

impl<T: Hash> Hashed<T> {
    pub(crate) fn new(value: T) -> Self {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Self { hash: hasher.finish(), value: Arc::new(value) }
    }
}

impl<T> Clone for Hashed<T> {
    fn clone(&self) -> Self {
        Self { hash: self.hash, value: Arc::clone(&self.value) }
    }
}

impl<T> Deref for Hashed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Hashed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.value == other.value
    }
}

impl<T: Eq> Eq for Hashed<T> {}

impl<T> Hash for Hashed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// A set that only grows, in an order that does not depend on when its values came.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct GrowingSet<T>(Vec<Hashed<T>>);

impl<T: Hash + Eq> GrowingSet<T> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn insert(&mut self, value: T) {
        let value = Hashed::new(value);
        let at = self.0.partition_point(|other| other.hash < value.hash);
        if !self.0[at..].iter().take_while(|other| other.hash == value.hash).any(|o| *o == value) {
            self.0.insert(at, value);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Hashed<T>> {
        self.0.iter()
    }
}
