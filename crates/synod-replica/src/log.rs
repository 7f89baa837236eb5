//! The replica's log: records of the core in a write-ahead log, found again by slot.
//!
//! What has to be appended, and when what may go, the core says. This file knows where the last
//! record of each slot lies: for slots below the chosen watermark that record holds what was
//! chosen, so members that lag can be served from it. Not so below a state that was taken over:
//! there the log may have values that were accepted, and others were chosen.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use synod_paxos::{Batch, Command, Incarnation, Peer, Record, Recovered, ReplicaId, Slot, Value};
use synod_wal::{Disk, Owner, Position, Spare, SpareOrder, Wal};

use crate::codec::{DecodeError, Parts, decode_record, encode_record};

/// Whose log it is. Made when the data folder is, and kept in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogIdentity {
    /// The cluster.
    pub cluster: u64,
    /// The member and the life of its disk.
    pub me: Peer,
}

impl LogIdentity {
    /// Says that the other three numbers are a log's identity, in their first version.
    const MAGIC: [u8; 8] = *b"synod\0\0\x01";

    /// Whose log is on the disk; `None` if there is none yet.
    ///
    /// # Errors
    /// If the disk holds something else, or fails.
    pub fn peek<D: Disk>(disk: &mut D) -> Result<Option<Self>, OpenError> {
        match Wal::peek_owner(disk)? {
            None => Ok(None),
            Some(owner) => Self::unpack(owner).map(Some).ok_or(OpenError::NotOurs { owner }),
        }
    }

    fn pack(self) -> Owner {
        let numbers = [self.cluster, self.me.id.as_u64(), self.me.incarnation.as_u64()];
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&Self::MAGIC);
        for (to, number) in bytes[8..].chunks_exact_mut(8).zip(numbers) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        Owner(bytes)
    }

    fn unpack(Owner(bytes): Owner) -> Option<Self> {
        let mut chunks = bytes.as_chunks::<8>().0.iter();
        if chunks.next() != Some(&Self::MAGIC) {
            return None;
        }
        let mut number = || chunks.next().copied().map(u64::from_le_bytes);
        let cluster = number()?;
        let id = ReplicaId::new(number()?);
        Some(Self { cluster, me: Peer { id, incarnation: Incarnation::new(number()?) } })
    }
}

/// An opened log.
pub struct Log<D: Disk> {
    wal: Wal<D>,
    /// Where the last record of each slot is. Slots below the last trim are gone from it.
    positions: BTreeMap<Slot, Position>,
    /// Where the last record of each other fact is.
    facts: BTreeMap<Fact, Position>,
    /// Values of slots below this one need not be those that were chosen.
    skipped: Slot,
    parts: Parts,
}

/// What a log holds when it is opened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// Whose it is.
    pub identity: LogIdentity,
    /// For the core.
    pub recovered: Recovered,
    /// What the write-ahead log found.
    pub recovery: synod_wal::Recovery,
}

impl<D: Disk> Log<D> {
    /// Opens the member's log. A fresh disk gets a log of the incarnation `fresh`, which is drawn
    /// at random; any other keeps the one it has.
    ///
    /// `applied` is the watermark of the state machine: values below it stay on the disk only.
    ///
    /// # Errors
    /// If the log is another member's, is damaged or unreadable, or lacks what the state machine
    /// has to apply next.
    pub fn open(
        mut disk: D,
        cluster: u64,
        member: ReplicaId,
        fresh: Incarnation,
        options: synod_wal::Options,
        applied: Slot,
    ) -> Result<(Self, Opened), OpenError> {
        let new = LogIdentity { cluster, me: Peer { id: member, incarnation: fresh } };
        let identity = LogIdentity::peek(&mut disk)?.unwrap_or(new);
        if (identity.cluster, identity.me.id) != (cluster, member) {
            return Err(OpenError::Foreign { found: identity, cluster, member });
        }
        let mut replay = Replay::new(applied);
        let (wal, recovery) = Wal::open(disk, identity.pack(), options, |record| {
            replay.visit(record);
        })?;
        let Replay { recovered, positions, facts, .. } = replay.finish()?;
        let skipped = recovered.skipped;
        let log = Self { wal, positions, facts, skipped, parts: Parts::default() };
        Ok((log, Opened { identity, recovered, recovery }))
    }

    /// Appends a record; it is durable after the next [`Log::sync`].
    ///
    /// # Errors
    /// If the log does not take it; the member cannot go on then.
    pub fn append(&mut self, record: &Record) -> Result<(), LogError> {
        let kind = encode_record(record, &mut self.parts);
        let slices = self.parts.as_slices();
        let position = match self.wal.append(kind, &slices) {
            Err(synod_wal::AppendError::Full { .. }) => {
                self.wal.sync()?;
                self.wal.append(kind, &slices)?
            }
            result => result?,
        };
        match place_of(record) {
            Place::Slot(slot) => self.positions.insert(slot, position),
            Place::Fact(fact) => self.facts.insert(fact, position),
        };
        if let Record::Skipped(below) = record {
            self.skipped = self.skipped.max(*below);
        }
        Ok(())
    }

    /// Makes all that was appended durable.
    ///
    /// # Errors
    /// If the disk fails: its state is unknown then, and the member must stop.
    pub fn sync(&mut self) -> Result<(), LogError> {
        Ok(self.wal.sync()?)
    }

    /// Values of chosen slots from `from` on and below `chosen`, at most `bytes_max` bytes but at
    /// least one value; none if the first is not in the log any more, or was skipped.
    ///
    /// # Errors
    /// If the disk fails, or a record is not what was written.
    pub fn read_chosen(
        &self,
        from: Slot,
        chosen: Slot,
        bytes_max: usize,
    ) -> Result<Vec<Value>, LogError> {
        let mut values = Vec::new();
        let mut bytes = 0;
        if chosen <= from || from < self.skipped {
            return Ok(values);
        }
        let mut expected = from;
        for (slot, position) in self.positions.range(from..chosen) {
            if *slot != expected {
                break;
            }
            let value = self.read_value(*slot, *position)?;
            bytes += value.bytes();
            if bytes > bytes_max && !values.is_empty() {
                break;
            }
            values.push(value);
            expected = expected.next();
        }
        Ok(values)
    }

    /// The first slot such that the log from its record on has at most this many bytes, for each of
    /// two bounds. The first slots of the log are looked at, those beyond the larger one twice.
    #[must_use]
    pub fn bounded(&self, soft_bytes: u64, hard_bytes: u64) -> (Slot, Slot) {
        let end = self.wal.status().end.to_u64();
        let first = |bytes: u64| {
            let within = |position: &Position| end.saturating_sub(position.to_u64()) <= bytes;
            let found = self.positions.iter().find(|(_, position)| within(position));
            found.map_or(Slot::FIRST, |(slot, _)| *slot)
        };
        (first(soft_bytes), first(hard_bytes))
    }

    /// Drops the records of slots below this one, as far as they fill whole segments. The last
    /// record of every other fact stays; the core has appended the facts again just before.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn trim(&mut self, below: Slot) -> Result<(), LogError> {
        self.positions = self.positions.split_off(&below);
        let kept = self.positions.values().chain(self.facts.values());
        match kept.copied().min() {
            Some(oldest) => Ok(self.wal.trim(oldest)?),
            None => Ok(()),
        }
    }

    /// Makes a spare file if there is none. Slow: it writes a whole segment. For who has one thread
    /// only; see [`Log::order_spare`].
    ///
    /// # Errors
    /// If the disk fails.
    pub fn prepare(&mut self) -> Result<(), LogError> {
        Ok(self.wal.prepare()?)
    }

    /// The disk, and an order for a spare file on it, if the log has none: making one writes a
    /// whole segment, which another thread can do while the log goes on.
    pub fn order_spare(&mut self) -> Option<(D, SpareOrder)>
    where
        D: Clone,
    {
        let order = self.wal.order_spare()?;
        Some((self.wal.disk().clone(), order))
    }

    /// Takes over a spare file that was ordered.
    pub fn adopt_spare(&mut self, spare: Spare) {
        self.wal.adopt_spare(spare);
    }

    /// Ends the log in order.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn seal(&mut self) -> Result<(), LogError> {
        Ok(self.wal.seal()?)
    }

    /// The write-ahead log's figures.
    #[must_use]
    pub fn status(&self) -> synod_wal::Status {
        self.wal.status()
    }

    fn read_value(&self, slot: Slot, position: Position) -> Result<Value, LogError> {
        let record = self.wal.read(position)?;
        let record = decode_record(record.kind, record.payload)
            .map_err(|source| LogError::Decode { position, source })?;
        match record {
            Record::Accepted { slot: found, value, .. }
            | Record::Learned { slot: found, value }
                if found == slot =>
            {
                Ok(value)
            }
            _ => Err(LogError::Misplaced { position, slot }),
        }
    }
}

/// What a record tells about: a later record of the same place replaces it.
enum Place {
    Slot(Slot),
    Fact(Fact),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
enum Fact {
    Met(ReplicaId),
    Promised,
    Chosen,
    Skipped,
}

const fn place_of(record: &Record) -> Place {
    match record {
        Record::Accepted { slot, .. } | Record::Learned { slot, .. } => Place::Slot(*slot),
        Record::Met(peer) => Place::Fact(Fact::Met(peer.id)),
        Record::Promised(_) => Place::Fact(Fact::Promised),
        Record::Chosen(_) => Place::Fact(Fact::Chosen),
        Record::Skipped(_) => Place::Fact(Fact::Skipped),
    }
}

/// Folds the records of a log that is opened.
struct Replay {
    applied: Slot,
    recovered: Recovered,
    positions: BTreeMap<Slot, Position>,
    facts: BTreeMap<Fact, Position>,
    no_commands: Arc<[Command]>,
    /// The first record that could not be read.
    failed: Option<OpenError>,
}

impl Replay {
    fn new(applied: Slot) -> Self {
        Self {
            applied,
            recovered: Recovered::default(),
            positions: BTreeMap::new(),
            facts: BTreeMap::new(),
            no_commands: Arc::default(),
            failed: None,
        }
    }

    fn visit(&mut self, record: synod_wal::Record) {
        if self.failed.is_some() {
            return;
        }
        let position = record.position;
        match decode_record(record.kind, record.payload) {
            Err(source) => self.failed = Some(OpenError::Decode { position, source }),
            Ok(mut record) => {
                match place_of(&record) {
                    Place::Fact(fact) => _ = self.facts.insert(fact, position),
                    Place::Slot(slot) => {
                        self.positions.insert(slot, position);
                        if slot < self.applied {
                            self.lighten(&mut record);
                        }
                    }
                }
                self.recovered.replay(record);
            }
        }
    }

    /// Takes the commands out of a value that the machine holds already. The rest stays until the
    /// end: a later record of the slot may replace it, and only the last one counts.
    fn lighten(&self, record: &mut Record) {
        if let Record::Accepted { value: Value::Batch(Batch { commands, .. }), .. }
        | Record::Learned { value: Value::Batch(Batch { commands, .. }), .. } = record
        {
            *commands = Arc::clone(&self.no_commands);
        }
    }

    fn finish(mut self) -> Result<Self, OpenError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.recovered.forget_below(self.applied);
        let (applied, chosen) = (self.applied, self.recovered.chosen);
        let held = self.recovered.accepted.range(applied..chosen).count();
        if u64::try_from(held).is_ok_and(|held| held == chosen.distance_from(applied)) {
            Ok(self)
        } else {
            let mut slots = self.recovered.accepted.range(applied..chosen).map(|(slot, _)| *slot);
            let found = slots.next().filter(|found| *found > applied).unwrap_or(chosen);
            Err(OpenError::StateBehind { applied, found })
        }
    }
}

/// Why a log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder is in use by another member.
    #[error(
        "the data folder belongs to member {} of cluster {:x}, but this is member {member} of \
         cluster {cluster:x}: check the data folder and the member's name",
        found.me.id, found.cluster
    )]
    Foreign {
        /// Whose it is.
        found: LogIdentity,
        /// The cluster that was asked for.
        cluster: u64,
        /// The member that was asked for.
        member: ReplicaId,
    },
    /// The log's owner is no member.
    #[error("the log was not written by a replica, or by a newer release: its owner is {owner}")]
    NotOurs {
        /// The owner found.
        owner: Owner,
    },
    /// The write-ahead log was not opened.
    #[error(transparent)]
    Wal(#[from] synod_wal::OpenError),
    /// An intact record does not decode.
    #[error("record at {position}: {source}")]
    Decode {
        /// Where it is.
        position: Position,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The state machine has lost state that the log does not hold any more.
    #[error(
        "the state machine needs slot {applied} next, but the log was trimmed up to slot {found}: \
         state and log do not belong together; restore both, or join as a new member"
    )]
    StateBehind {
        /// What the machine needs.
        applied: Slot,
        /// The first slot after the gap.
        found: Slot,
    },
}

/// Why the log failed. The member must stop.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A record was not taken.
    #[error(transparent)]
    Append(#[from] synod_wal::AppendError),
    /// A record was not read.
    #[error(transparent)]
    Read(#[from] synod_wal::ReadError),
    /// An intact record does not decode.
    #[error("record at {position}: {source}")]
    Decode {
        /// Where it is.
        position: Position,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A record is not the one that was written there.
    #[error("the record at {position} does not hold slot {slot}")]
    Misplaced {
        /// Where it is.
        position: Position,
        /// The slot it should hold.
        slot: Slot,
    },
    /// The disk failed.
    #[error("log: {0}")]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests;
