//! Which watches want the events of a key.
//!
//! Watches of the same keys sit at one place, and there in groups of one flavor: whatever a group
//! is told is made once.

use std::collections::HashMap;

use bytes::Bytes;
use slab::Slab;
use synod_etcd::watch::Flavor;
use synod_kv::KeyRange;

use super::ranges::{Ranges, Span};

/// Watches by what they watch.
#[derive(Debug, Default)]
pub(super) struct Index {
    places: Slab<Vec<Group>>,
    /// Places of single keys.
    keys: HashMap<Bytes, usize>,
    /// Places of ranges.
    ranges: Ranges,
}

/// Watches of the same keys and flavor.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) flavor: Flavor,
    pub(super) members: Vec<usize>,
}

/// Where a watch sits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Seat {
    place: usize,
    at: usize,
}

/// A watch that was moved, and where it sits now.
pub(super) type Moved = Option<(usize, Seat)>;

impl Index {
    /// Seats a watch.
    pub(super) fn insert(&mut self, keys: &KeyRange, flavor: Flavor, watch: usize) -> Seat {
        let place = self.place(keys);
        let groups = &mut self.places[place];
        let known = groups.iter().position(|group| group.flavor == flavor);
        let group = known.unwrap_or_else(|| {
            groups.reserve_exact(1);
            groups.push(Group { flavor, members: Vec::new() });
            groups.len() - 1
        });
        let members = &mut groups[group].members;
        members.push(watch);
        Seat { place, at: members.len() - 1 }
    }

    /// Takes a watch from its seat. Another one may have to move.
    pub(super) fn remove(&mut self, keys: &KeyRange, flavor: Flavor, seat: Seat) -> Moved {
        let groups = &mut self.places[seat.place];
        let group = groups
            .iter()
            .position(|group| group.flavor == flavor)
            .expect("a seated watch has a group");
        let members = &mut groups[group].members;
        members.swap_remove(seat.at);
        if let Some(moved) = members.get(seat.at) {
            return Some((*moved, seat));
        }
        if members.is_empty() {
            groups.swap_remove(group);
        }
        if groups.is_empty() {
            self.places.remove(seat.place);
            match keys {
                KeyRange::Single(key) => drop(self.keys.remove(key.as_bytes())),
                KeyRange::Between { .. } | KeyRange::From(_) => self.ranges.remove(&span(keys)),
            }
        }
        None
    }

    /// Visits the places of those that want a key's events.
    pub(super) fn find(&self, key: &[u8], mut visit: impl FnMut(usize)) {
        if let Some(place) = self.keys.get(key) {
            visit(*place);
        }
        self.ranges.holding(key, &mut visit);
    }

    /// Who sits at a place.
    pub(super) fn at(&self, place: usize) -> &[Group] {
        &self.places[place]
    }

    fn place(&mut self, keys: &KeyRange) -> usize {
        if let KeyRange::Single(key) = keys {
            let places = &mut self.places;
            return *self
                .keys
                .entry(key.as_bytes().clone())
                .or_insert_with(|| places.insert(Vec::new()));
        }
        let span = span(keys);
        self.ranges.get(&span).unwrap_or_else(|| {
            let place = self.places.insert(Vec::new());
            self.ranges.insert(span, place);
            place
        })
    }
}

fn span(keys: &KeyRange) -> Span {
    let start = keys.start().as_bytes().clone();
    match keys {
        KeyRange::Between { end, .. } => Span { start, end: Some(end.as_bytes().clone()) },
        KeyRange::Single(_) | KeyRange::From(_) => Span { start, end: None },
    }
}
