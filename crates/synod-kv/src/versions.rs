//! What the index knows of one key: its versions, newest last. Values are elsewhere.

use std::collections::VecDeque;

use crate::revision::{Position, Revision};

/// One change of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Version {
    /// Where it stands in history; names the row with the value.
    pub(crate) at: Position,
    /// What the key became; nothing if it was deleted.
    pub(crate) live: Option<Live>,
}

/// A key that exists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Live {
    /// The revision that created it.
    pub(crate) create: Revision,
    /// How often it was put since then.
    pub(crate) version: i64,
    /// Its lease; 0 for none.
    pub(crate) lease: i64,
    /// Length of key and value: what the key counts against the quota.
    pub(crate) bytes: u64,
}

/// The versions of a key that are not reclaimed yet, in the order of their positions.
///
/// The newest stands apart: most keys have no other, and most reads want no other.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Versions {
    newest: Option<Version>,
    /// The oldest goes first, so a key with a million of them forgets each at once.
    older: VecDeque<Version>,
}

impl Versions {
    /// Adds a version, which becomes the newest.
    pub(crate) fn push(&mut self, version: Version) {
        if let Some(former) = self.newest.replace(version) {
            assert!(former.at < version.at, "{:?} after {:?}", version.at, former.at);
            self.older.push_back(former);
        }
    }

    /// Forgets the version at a position; whether there was one.
    pub(crate) fn forget(&mut self, at: Position) -> bool {
        if self.newest.is_some_and(|newest| newest.at == at) {
            self.newest = self.older.pop_back();
            return true;
        }
        let found = self.older.binary_search_by_key(&at, |version| version.at);
        let Ok(place) = found else { return false };
        self.older.remove(place);
        if self.older.is_empty() {
            // Most keys have no history: it leaves no memory behind.
            self.older = VecDeque::new();
        }
        true
    }

    /// The newest version.
    pub(crate) const fn newest(&self) -> Option<Version> {
        self.newest
    }

    /// The newest version that a read at `revision` sees.
    pub(crate) fn seen_at(&self, revision: Revision) -> Option<Version> {
        if let Some(newest) = self.newest
            && newest.at.revision <= revision
        {
            return Some(newest);
        }
        let seen = self.older.partition_point(|version| version.at.revision <= revision);
        self.older.get(seen.checked_sub(1)?).copied()
    }

    /// Whether the key exists now.
    pub(crate) fn is_live(&self) -> bool {
        self.newest.is_some_and(|newest| newest.live.is_some())
    }

    /// Whether no version is left.
    pub(crate) const fn is_empty(&self) -> bool {
        self.newest.is_none()
    }
}
