//! The history of changes, as watches read it.
//!
//! Two things read it: [`crate::Reader::history`] from any revision that is not compacted, and
//! [`crate::Tail`], which follows what is applied and holds back what it has not read yet.

use bytes::Bytes;

use crate::engine::Engine;
use crate::error::{ReadError, StorageError};
use crate::response::KeyValue;
use crate::revision::{Position, Revision};
use crate::row::{Row, row_key};
use crate::store::Shared;

/// Changes, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct History {
    /// What changed: whole revisions.
    pub events: Vec<Event>,
    /// The first revision that is not told: where to go on.
    pub next: Revision,
    /// The current revision. At its end, `next` is the one after it.
    pub revision: Revision,
}

/// A change of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A value was stored.
    Put(KeyValue),
    /// The key was deleted: only key and `mod_revision` are set.
    Delete(KeyValue),
}

/// How much of history to read at once. One revision is always told whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HistoryLimits {
    /// Events after which no further revision begins.
    pub events_max: usize,
    /// Bytes of keys and values after which no further revision begins.
    pub bytes_max: usize,
}

/// How many rows are read per lock, or from the engine at once.
const CHUNK_ROWS: usize = 256;

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { events_max: 1000, bytes_max: 1 << 20 }
    }
}

impl Event {
    /// The key as the change left it.
    #[must_use]
    pub const fn kv(&self) -> &KeyValue {
        match self {
            Self::Put(kv) | Self::Delete(kv) => kv,
        }
    }
}

/// Which part of history to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// The first revision.
    pub(crate) from: Revision,
    /// The first revision that is not read; none to read up to the current one.
    pub(crate) below: Option<Revision>,
    pub(crate) floor: Floor,
}

/// What history is read down to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Floor {
    /// The compact revision, as for everybody.
    Compact,
    /// What is really gone: for who holds rows back that are compacted.
    Reclaimed,
}

/// The next rows of history, or where in the engine they are.
enum Rows {
    Here(Vec<Row>),
    /// In the engine, below this position.
    Engine(Position),
}

/// Reads history from a revision on. See [`crate::Reader::history`].
pub(crate) fn read<E: Engine>(
    shared: &Shared<E>,
    span: Span,
    limits: HistoryLimits,
) -> Result<History, ReadError<E::Error>> {
    let from = span.from.max(Revision::FIRST);
    let revision = shared.state.read().meta.revision;
    let end = span.below.unwrap_or(Revision::MAX).min(revision.next());
    let mut told = Telling { events: Vec::new(), bytes: 0, limits };
    let mut at = Position::start_of(from);
    let next = loop {
        if at.revision >= end {
            break end.max(from);
        }
        let rows = match next_rows(shared, at, end) {
            Rows::Here(rows) => rows,
            Rows::Engine(to) => {
                let rows = engine_rows(shared, at, to)?;
                if rows.is_empty() {
                    at = to;
                    continue;
                }
                rows
            }
        };
        if let Some(full) = told.tell(&rows) {
            break full;
        }
        at = match rows.last() {
            Some(last) => Position { sub: last.version.at.sub + 1, ..last.version.at },
            None => Position::start_of(end),
        };
    };
    check(shared, from, span.floor)?;
    Ok(History { events: told.events, next, revision })
}

/// A key as it was just before a revision; none if it was not there.
pub(crate) fn before<E: Engine>(
    shared: &Shared<E>,
    key: &[u8],
    revision: Revision,
    floor: Floor,
) -> Result<Option<KeyValue>, ReadError<E::Error>> {
    let at = revision.previous();
    let version = {
        let state = shared.state.read();
        let seen = state.tree.get(key).and_then(|versions| versions.seen_at(at));
        match seen.filter(|version| version.live.is_some()) {
            Some(version) => match state.overlay.get(version.at) {
                Some(row) => Err(row.key_value()),
                None => Ok(Some(version)),
            },
            None => Ok(None),
        }
    };
    let found = match version {
        Err(here) => Some(here),
        Ok(None) => None,
        Ok(Some(version)) => {
            let row_key = row_key(version.at);
            match shared.engine.get(&row_key).map_err(StorageError::Engine)? {
                Some(bytes) => {
                    let row = Row::decode(&row_key, &bytes).map_err(StorageError::Row)?;
                    Some(row.key_value())
                }
                None => {
                    check(shared, at, floor)?;
                    let revision = version.at.revision;
                    return Err(StorageError::MissingRow { revision }.into());
                }
            }
        }
    };
    // Looked at last: what was found is what was there unless something was taken meanwhile.
    check(shared, at, floor)?;
    Ok(found)
}

struct Telling {
    events: Vec<Event>,
    bytes: usize,
    limits: HistoryLimits,
}

impl Telling {
    /// Tells rows until it is enough; then, the revision to go on with.
    fn tell(&mut self, rows: &[Row]) -> Option<Revision> {
        for row in rows {
            let revision = row.version.at.revision;
            let begins = self.events.last().is_some_and(|e| e.kv().mod_revision != revision);
            let enough =
                self.events.len() >= self.limits.events_max || self.bytes >= self.limits.bytes_max;
            if begins && enough {
                return Some(revision);
            }
            self.bytes += row.key.len() + row.value.len();
            self.events.push(match row.version.live {
                Some(_) => Event::Put(row.key_value()),
                None => Event::Delete(row.key_value()),
            });
        }
        None
    }
}

fn check<E: Engine>(
    shared: &Shared<E>,
    from: Revision,
    floor: Floor,
) -> Result<(), ReadError<E::Error>> {
    let state = shared.state.read();
    let lowest = match floor {
        Floor::Compact => state.meta.compact,
        Floor::Reclaimed => state.reclaimed(),
    };
    if from < lowest {
        return Err(ReadError::Compacted { requested: from, compacted: state.meta.compact });
    }
    Ok(())
}

/// Rows leave the overlay from its front, after the engine has them: what is below its first row
/// is in the engine.
fn next_rows<E: Engine>(shared: &Shared<E>, at: Position, end: Revision) -> Rows {
    let state = shared.state.read();
    let end = Position::start_of(end);
    let first = state.overlay.first().unwrap_or(end).min(end);
    if at < first {
        return Rows::Engine(first);
    }
    let rows = state.overlay.from(at).take_while(|row| row.version.at < end);
    Rows::Here(rows.take(CHUNK_ROWS).cloned().collect())
}

fn engine_rows<E: Engine>(
    shared: &Shared<E>,
    at: Position,
    to: Position,
) -> Result<Vec<Row>, ReadError<E::Error>> {
    let pairs: Vec<(Bytes, Bytes)> =
        shared.engine.scan(&row_key(at), &row_key(to), CHUNK_ROWS).map_err(StorageError::Engine)?;
    pairs
        .iter()
        .map(|(key, value)| {
            Row::decode(key, value).map_err(|error| StorageError::Row(error).into())
        })
        .collect()
}
