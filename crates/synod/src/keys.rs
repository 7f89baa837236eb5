//! Keys and ranges of keys as the command line gives them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use anyhow::bail;
use bytes::Bytes;
use clap::Args;
use synod_etcd::Refusal;
use synod_etcd::proto::etcdserverpb::RangeRequest;
use synod_etcd::request::Read;
use synod_kv::{Key, KeyRange, Range};

/// Which keys a command is about.
#[derive(Args, Clone, Debug)]
pub(crate) struct KeysArgs {
    /// The key, or the first key of the range.
    pub(crate) key: OsString,
    /// The first key behind the range.
    pub(crate) range_end: Option<OsString>,
    /// All keys that begin with KEY.
    #[arg(long, conflicts_with = "range_end")]
    pub(crate) prefix: bool,
    /// KEY and all keys above it.
    #[arg(long, conflicts_with_all = ["range_end", "prefix"])]
    pub(crate) from_key: bool,
}

impl KeysArgs {
    /// The range meant, as etcd's messages have it: the first key, and the one behind the last.
    pub(crate) fn wire(self) -> anyhow::Result<(Bytes, Bytes)> {
        let read = Read { range: Range::new(self.range()?), serializable: false };
        let RangeRequest { key, range_end, .. } = read.into();
        Ok((key, range_end))
    }

    /// The range meant.
    pub(crate) fn range(self) -> anyhow::Result<KeyRange> {
        let Self { key, range_end, prefix, from_key } = self;
        let key = bytes(key);
        if key.is_empty() && (prefix || from_key) {
            return Ok(KeyRange::all());
        }
        let start = Key::new(key).map_err(Refusal::from)?;
        Ok(match range_end.map(bytes) {
            _ if prefix => KeyRange::prefix(start.as_bytes().clone()).map_err(Refusal::from)?,
            _ if from_key => KeyRange::From(start),
            Some(end) if end.is_empty() => bail!("the end of the range is empty"),
            Some(end) => KeyRange::new(start.as_bytes().clone(), end).map_err(Refusal::from)?,
            None => KeyRange::Single(start),
        })
    }
}

/// The bytes of an argument, whether they are text or not.
pub(crate) fn bytes(arg: OsString) -> Bytes {
    Bytes::from(arg.into_vec())
}

/// Reads a lease id, which etcd writes in hexadecimal.
pub(crate) fn lease(text: &str) -> Result<i64, String> {
    i64::from_str_radix(text, 16).map_err(|_| format!("{text:?} is not a lease id in hexadecimal"))
}
