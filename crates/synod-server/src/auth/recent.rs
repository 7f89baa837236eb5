//! What was seen lately, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;

/// A map that forgets what was not touched for long: in two generations, so that forgetting costs
/// nothing. Holds at most twice its capacity.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    capacity: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, young: HashMap::new(), old: HashMap::new() }
    }

    /// What is under a key. It counts as touched.
    pub(super) fn get(&mut self, key: K) -> Option<V> {
        if let Some(value) = self.young.get(&key) {
            return Some(value.clone());
        }
        let value = self.old.remove(&key)?;
        self.put(key, value.clone());
        Some(value)
    }

    pub(super) fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.capacity && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_what_is_touched_and_stays_small() {
        let mut recent = Recent::new(10);
        recent.put(0, 0);
        for key in 1..1000 {
            recent.put(key, key);
            assert_eq!(recent.get(0), Some(0));
            assert!(recent.young.len() + recent.old.len() <= 20);
        }
        assert_eq!((recent.get(500), recent.get(999)), (None, Some(999)));
    }
}
