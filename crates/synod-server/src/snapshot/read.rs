//! From a file, ours or etcd's, to rows. Trusts nothing.
//!
//! The file is read twice: for the hash of the whole, and page by page. Memory holds a page of
//! each level, and the rows of a batch.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::{Buf, Bytes};
use crc_fast::{CrcAlgorithm, Digest};
use ring::digest::{Context, SHA256};
use synod_bolt::{Bucket, Database, ReadError, Source};
use synod_etcd::backend::{self, KeyEntry};
use synod_kv::{
    AuthRecord, Record, Revision, RowError, SnapshotOrigin, SnapshotPoint, TokenSecret,
};

use super::{
    BUCKET, FORMAT, HASH_BYTES, ROW, STATE, SnapshotError, SnapshotFacts, SnapshotFileError,
    TAKEN_FROM, TRANSACTION, failed,
};

/// Bytes that are read at once for the hash.
const READ_BYTES: usize = 256 << 10;

/// Takes rows, in no order over all.
type Take<'a> = &'a mut dyn FnMut(Bytes, Bytes) -> Result<(), SnapshotFileError>;

/// Reads the whole file, and says what it is if it is undamaged.
///
/// # Errors
/// If it is not, or cannot be read.
pub fn verify(file: &Path, skip_hash: bool) -> Result<SnapshotFacts, SnapshotFileError> {
    read(file, skip_hash, &mut |_, _| Ok(()))
}

/// Reads the whole file, and hands out the rows that a store has who holds the same. Nothing of
/// them is to be believed before the end.
pub(super) fn read(
    path: &Path,
    skip_hash: bool,
    take: Take<'_>,
) -> Result<SnapshotFacts, SnapshotFileError> {
    let file = File::open(path).map_err(failed(path, "open it"))?;
    let length = file.metadata().map_err(failed(path, "read it"))?.len();
    let wrong = |reason| Error::Snapshot(reason).at(path);
    let bytes = without_hash(length);
    if bytes == length && !skip_hash {
        return Err(wrong(SnapshotError::NoHash));
    }
    let (sha256, expected) = hashes(&file, bytes, length).map_err(failed(path, "read it"))?;
    if expected.is_some_and(|expected| expected != sha256) && !skip_hash {
        return Err(wrong(SnapshotError::Hash));
    }
    let database = Database::open(FileSource(file), bytes).map_err(|error| wrong(error.into()))?;
    Reading::new(&database, sha256, take).run().map_err(|error| error.at(path))
}

/// How long the database is in a file of this length: all of it but a hash, if there is one.
fn without_hash(length: u64) -> u64 {
    let hash = u64::try_from(HASH_BYTES).expect("a hash has 32 bytes");
    if length % 512 == hash { length - hash } else { length }
}

/// The hash of so many bytes, and the one behind them.
fn hashes(
    file: &File,
    bytes: u64,
    length: u64,
) -> io::Result<([u8; HASH_BYTES], Option<[u8; HASH_BYTES]>)> {
    let (mut hasher, mut buffer, mut at) = (Context::new(&SHA256), vec![0; READ_BYTES], 0);
    while at < bytes {
        let part = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(READ_BYTES);
        file.read_exact_at(&mut buffer[..part], at)?;
        hasher.update(&buffer[..part]);
        at += u64::try_from(part).expect("a part is far below 2^64 bytes");
    }
    let mut behind = [0; HASH_BYTES];
    if bytes < length {
        file.read_exact_at(&mut behind, bytes)?;
    }
    let hash = *hasher.finish().as_ref().first_chunk().expect("SHA-256 has 32 bytes");
    Ok((hash, (bytes < length).then_some(behind)))
}

#[derive(Debug)]
struct FileSource(File);

impl Source for FileSource {
    type Error = io::Error;

    fn read(&self, at: u64, bytes: usize) -> io::Result<Bytes> {
        let mut buffer = vec![0; bytes];
        self.0.read_exact_at(&mut buffer, at)?;
        Ok(buffer.into())
    }
}

/// What ends a reading: the file, or whoever takes its rows.
enum Error {
    Snapshot(SnapshotError),
    Taker(SnapshotFileError),
}

impl<E: Into<SnapshotError>> From<E> for Error {
    fn from(error: E) -> Self {
        Self::Snapshot(error.into())
    }
}

impl Error {
    fn at(self, path: &Path) -> SnapshotFileError {
        match self {
            Self::Snapshot(SnapshotError::Database(ReadError::Source(reason))) => {
                failed(path, "read it")(reason)
            }
            Self::Snapshot(reason) => SnapshotFileError::Snapshot { path: path.to_owned(), reason },
            Self::Taker(error) => error,
        }
    }
}

/// A walk through all buckets.
struct Reading<'a> {
    database: &'a Database<FileSource>,
    take: Take<'a>,
    /// Whether nobody wrote to the file since it was made by us.
    ours: bool,
    hash: Digest,
    total_keys: u64,
    sha256: [u8; HASH_BYTES],
    last_revision: Revision,
    compact_revision: Revision,
    auth_enabled: bool,
    auth_revision: Option<u64>,
    version: String,
    state: Option<SnapshotPoint>,
    origin: Option<SnapshotOrigin>,
}

impl<'a> Reading<'a> {
    fn new(database: &'a Database<FileSource>, sha256: [u8; HASH_BYTES], take: Take<'a>) -> Self {
        Self {
            database,
            take,
            ours: database.transaction() == TRANSACTION,
            hash: Digest::new(CrcAlgorithm::Crc32Iscsi),
            total_keys: 0,
            sha256,
            last_revision: Revision::FIRST,
            compact_revision: Revision::NEVER,
            auth_enabled: false,
            auth_revision: None,
            version: String::new(),
            state: None,
            origin: None,
        }
    }

    fn run(mut self) -> Result<SnapshotFacts, Error> {
        let mut has_keys = false;
        let mut buckets = self.database.walk(self.database.root());
        while let Some(entry) = buckets.next()? {
            let Some(bucket) = entry.bucket else {
                let what = "there is an entry beside buckets";
                return Err(SnapshotError::Content { bucket: "of buckets", what }.into());
            };
            self.hash.update(&entry.key);
            has_keys |= entry.key == backend::KEY.as_bytes();
            self.bucket(&entry.key, bucket)?;
        }
        if !has_keys {
            let what = "it is missing: it is no snapshot of a store of etcd's kind";
            return Err(SnapshotError::Content { bucket: backend::KEY, what }.into());
        }
        let taken = self.finish()?;
        Ok(SnapshotFacts {
            hash: u32::try_from(self.hash.finalize()).expect("a CRC-32 has 32 bits"),
            revision: self.revision(),
            compact_revision: self.compact_revision,
            total_keys: self.total_keys,
            total_bytes: self.database.bytes(),
            version: self.version,
            sha256: self.sha256,
            taken,
        })
    }

    fn bucket(&mut self, name: &[u8], bucket: Bucket) -> Result<(), Error> {
        let mut entries = self.database.walk(bucket);
        while let Some(entry) = entries.next()? {
            self.total_keys += 1;
            self.hash.update(&entry.key);
            if entry.bucket.is_some() {
                continue;
            }
            self.hash.update(&entry.value);
            let (key, value) = (entry.key, entry.value);
            match name {
                b"key" => self.key(&key, value)?,
                b"meta" => self.meta(&key, &value)?,
                b"synod" if self.ours => self.own(&key, value)?,
                _ if !self.ours => self.etcds(name, &key, value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn key(&mut self, key: &[u8], value: Bytes) -> Result<(), Error> {
        match backend::key_entry(key, value)? {
            KeyEntry::Mark(revision) => self.last_revision = self.last_revision.max(revision),
            KeyEntry::Change(change) => {
                self.last_revision = self.last_revision.max(change.revision);
                self.give(backend::KEY, &Record::Change(change))?;
            }
        }
        Ok(())
    }

    fn meta(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if key == backend::FINISHED_COMPACTION || key == backend::SCHEDULED_COMPACTION {
            let compacted = backend::compaction(value)?;
            self.compact_revision = self.compact_revision.max(compacted);
        } else if key == backend::STORAGE_VERSION {
            self.version = String::from_utf8_lossy(value).into_owned();
        }
        Ok(())
    }

    /// An entry of a bucket of etcd's.
    fn etcds(&mut self, bucket: &[u8], key: &[u8], value: Bytes) -> Result<(), Error> {
        let (name, record) = match bucket {
            b"lease" => (backend::LEASE, Record::Lease(backend::lease(&value, 0)?)),
            b"authUsers" => (backend::AUTH_USERS, Record::User(backend::user(key, value)?)),
            b"authRoles" => (backend::AUTH_ROLES, Record::Role(backend::role(key, value)?)),
            b"alarm" => (backend::ALARM, Record::Alarm(backend::alarm(key)?)),
            b"auth" => {
                if key == backend::AUTH_ENABLED {
                    self.auth_enabled = backend::auth_enabled(&value);
                } else if key == backend::AUTH_REVISION {
                    self.auth_revision = Some(backend::auth_revision(&value)?);
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.give(name, &record)
    }

    /// An entry of our bucket.
    fn own(&mut self, key: &[u8], value: Bytes) -> Result<(), Error> {
        let wrong = |what| SnapshotError::Content { bucket: BUCKET, what };
        if let Some(row) = key.strip_prefix(ROW) {
            let damaged = |reason| SnapshotError::Row { bucket: BUCKET, reason };
            match Record::decode(row, &value).map_err(damaged)? {
                Record::Change(_) | Record::Point(_) => {
                    return Err(wrong("a row is in the wrong place").into());
                }
                _ => {}
            }
            return (self.take)(Bytes::copy_from_slice(row), value).map_err(Error::Taker);
        }
        if key == STATE {
            self.state = Some(state(&value)?);
        } else if key == TAKEN_FROM {
            self.origin = Some(origin(&value)?);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<(SnapshotOrigin, SnapshotPoint)>, Error> {
        let wrong = |what| SnapshotError::Content { bucket: BUCKET, what };
        if !self.ours {
            self.give_auth()?;
            let point = self.made_point();
            self.give(backend::META, &Record::Point(point))?;
            return Ok(None);
        }
        let (Some(point), Some(origin)) = (self.state, self.origin) else {
            return Err(wrong("it does not say which state it is").into());
        };
        if (point.revision, point.compact_revision) != (self.revision(), self.compact_revision) {
            return Err(wrong("its state is not that of the other buckets").into());
        }
        self.give(BUCKET, &Record::Point(point))?;
        Ok(Some((origin, point)))
    }

    /// As a store has it: rows, and one for each thing.
    fn give(&mut self, bucket: &'static str, record: &Record) -> Result<(), Error> {
        let row = record.encode().map_err(|reason| SnapshotError::Row { bucket, reason })?;
        match row {
            Some((key, value)) => (self.take)(key, value).map_err(Error::Taker),
            None => Ok(()),
        }
    }

    fn give_auth(&mut self) -> Result<(), Error> {
        if self.auth_revision.is_none() && !self.auth_enabled {
            return Ok(());
        }
        let revision = self.auth_revision.unwrap_or(1).max(1);
        // All members of the new cluster must sign tokens with the same.
        let secret = TokenSecret(blake3::derive_key(TOKENS, &self.sha256));
        let enabled = self.auth_enabled.then_some((revision, secret));
        self.give(backend::AUTH, &Record::Auth(AuthRecord { revision, enabled }))
    }

    /// The revision etcd goes on from.
    fn revision(&self) -> Revision {
        self.last_revision.max(self.compact_revision)
    }

    /// A state for what etcd wrote: no log led to it, and log time begins with it.
    fn made_point(&self) -> SnapshotPoint {
        let first = *self.sha256.first_chunk().expect("a hash has 32 bytes");
        SnapshotPoint {
            revision: self.revision(),
            compact_revision: self.compact_revision,
            applied_slot: 1,
            barrier: [0; 2],
            time_ms: 0,
            digest: u64::from_le_bytes(first),
        }
    }
}

const TOKENS: &str = "synod secret of tokens, of a cluster restored from etcd's snapshot";

fn state(row: &Bytes) -> Result<SnapshotPoint, SnapshotError> {
    let damaged = |reason| SnapshotError::Row { bucket: BUCKET, reason };
    match Record::decode(b"m", row).map_err(damaged)? {
        Record::Point(point) => Ok(point),
        _ => Err(damaged(RowError::Damaged)),
    }
}

fn origin(mut value: &[u8]) -> Result<SnapshotOrigin, SnapshotError> {
    let wrong = |what| SnapshotError::Content { bucket: BUCKET, what };
    if value.len() != 17 {
        return Err(wrong("whose it is is cut short"));
    }
    if value.get_u8() != FORMAT {
        return Err(wrong("it is of another release: use a newer one"));
    }
    Ok(SnapshotOrigin { cluster: value.get_u64_le(), member: value.get_u64_le() })
}
