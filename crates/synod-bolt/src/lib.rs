//! Files of bbolt, the database in which etcd keeps its data: written from sorted entries, and
//! read with every check.
//!
//! It knows pages, buckets and entries, and nothing of what they mean. No disk either: a writer
//! gives bytes, a reader asks a [`Source`] for them.
//!
//! ```text
//! file     page*                    of one size, mostly 4096 bytes; numbers are little-endian
//! page     id:u64 flags:u16 count:u16 overflow:u32  element*  data
//!          flags: 1 branch, 2 leaf, 4 meta, 16 free pages
//!          overflow: so many pages more belong to this one
//! branch   pos:u32 key_bytes:u32 page:u64               the key is the first one below the page
//! leaf     flags:u32 pos:u32 key_bytes:u32 value_bytes:u32   flags: 1 for a bucket
//!          pos: where key and value are, from the beginning of the element on
//! bucket   root:u64 sequence:u64 [page]  the value of such an entry; with root 0 its only leaf
//!                                   follows in place
//! meta     magic:u32=ED0CDAED version:u32=2 page_bytes:u32 flags:u32 root:u64 sequence:u64
//!          free:u64 pages:u64 transaction:u64 hash:u64
//!          hash: FNV-1a, 64 bits, of what is before
//! ```
//!
//! Pages 0 and 1 are meta pages; of those that are whole the one with the higher transaction
//! counts. Its root is the bucket of buckets. `free` is the page that lists free pages, or
//! `u64::MAX` if none does. Every page below `pages` is in use once, or free.
//!
//! **Writing** ([`Tree`], [`Pages`]). A page of a branch follows the pages below it, so that only
//! the rightmost page of each level is in memory, however many entries there are. The meta pages
//! stand in front and say how many pages there are: a writer goes over its entries twice, and the
//! first time throws the pages away. What it writes has no free pages.
//!
//! **Reading** ([`Database`], [`Cursor`]). A walk holds one page of each level, too. Nothing in a
//! file is believed: keys must rise through a whole bucket, which no page that is met twice lets
//! them do, and depth is bounded.

#![deny(missing_docs)]

mod layout;
mod read;
mod write;

pub use layout::PAGE_BYTES;
pub use read::{Bucket, Cursor, Database, Entry, ReadError, Source};
pub use write::{Layout, Pages, Root, Tree};
