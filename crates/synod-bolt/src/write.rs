//! The writer: sorted entries to pages, each given out as soon as it is full.

use bytes::{BufMut, Bytes, BytesMut};

use crate::layout::{
    BRANCH, BUCKET_BYTES, BUCKET_ENTRY, ELEMENT_BYTES, FREE, LEAF, META, Meta, PAGE_BYTES,
    PAGE_HEADER_BYTES,
};

/// Two meta pages, and the list of free pages.
const FRONT_PAGES: u64 = 3;
const FREE_PAGE: u64 = 2;

/// The pages of a file in the order of their numbers, without those in front. Several trees may
/// write to it in turns.
#[derive(Debug)]
pub struct Pages {
    next: u64,
    out: BytesMut,
}

/// Where things are in a finished file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    root: u64,
    pages: u64,
}

/// Where a bucket's tree begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Root(Option<u64>);

/// The entries of a bucket, as they come: by key upward.
#[derive(Debug, Default)]
pub struct Tree {
    leaf: Vec<(Bytes, Bytes)>,
    leaf_bytes: usize,
    /// Pages without a page above them, by first key: at most those of one page and two more.
    branches: Vec<Vec<(Bytes, u64)>>,
    entries: u64,
}

impl Default for Pages {
    fn default() -> Self {
        Self { next: FRONT_PAGES, out: BytesMut::new() }
    }
}

impl Pages {
    /// The pages that are complete and were not taken yet.
    pub fn take(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    /// Forgets the pages that are complete: for a first pass, which only finds out the layout.
    pub fn discard(&mut self) {
        self.out.clear();
    }

    /// How many bytes wait to be taken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Writes the bucket of buckets, which is the last page. Names come upward.
    pub fn finish(&mut self, buckets: &[(&str, Root)]) -> Layout {
        let entries: Vec<_> = buckets
            .iter()
            .map(|(name, root)| (Bytes::copy_from_slice(name.as_bytes()), root.value()))
            .collect();
        assert!(entries.is_sorted_by(|a, b| a.0 < b.0), "buckets come by name");
        let root = self.leaf(&entries, BUCKET_ENTRY);
        Layout { root, pages: self.next }
    }

    fn leaf(&mut self, entries: &[(Bytes, Bytes)], flags: u32) -> u64 {
        let bytes = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        let id = self.begin(LEAF, entries.len(), bytes);
        let mut data = entries.len() * ELEMENT_BYTES;
        for (at, (key, value)) in entries.iter().enumerate() {
            self.out.put_u32_le(flags);
            self.out.put_u32_le(number(data - at * ELEMENT_BYTES));
            self.out.put_u32_le(number(key.len()));
            self.out.put_u32_le(number(value.len()));
            data += key.len() + value.len();
        }
        for (key, value) in entries {
            self.out.put_slice(key);
            self.out.put_slice(value);
        }
        self.end();
        id
    }

    fn branch(&mut self, children: &[(Bytes, u64)]) -> u64 {
        let bytes = children.iter().map(|(key, _)| key.len()).sum();
        let id = self.begin(BRANCH, children.len(), bytes);
        let mut data = children.len() * ELEMENT_BYTES;
        for (at, (key, page)) in children.iter().enumerate() {
            self.out.put_u32_le(number(data - at * ELEMENT_BYTES));
            self.out.put_u32_le(number(key.len()));
            self.out.put_u64_le(*page);
            data += key.len();
        }
        for (key, _) in children {
            self.out.put_slice(key);
        }
        self.end();
        id
    }

    /// Begins a page that has so many elements, and so many bytes behind them.
    fn begin(&mut self, flags: u16, elements: usize, bytes: usize) -> u64 {
        let bytes = PAGE_HEADER_BYTES + elements * ELEMENT_BYTES + bytes;
        let (id, pages) = (self.next, bytes.div_ceil(PAGE_BYTES));
        put_page_header(&mut self.out, id, flags, elements, pages);
        self.next += u64::try_from(pages).expect("a page is far below 2^64 bytes");
        id
    }

    fn end(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(PAGE_BYTES), 0);
    }
}

impl Layout {
    /// How many bytes the file has.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pages * u64::try_from(PAGE_BYTES).expect("a page is far below 2^64 bytes")
    }

    /// The pages in front, for a file whose last transaction has this number.
    #[must_use]
    pub fn front(&self, transaction: u64) -> Bytes {
        let mut out = BytesMut::new();
        for id in 0..2 {
            put_page_header(&mut out, id, META, 0, 1);
            let meta = Meta {
                page_bytes: number(PAGE_BYTES),
                root: self.root,
                free: FREE_PAGE,
                pages: self.pages,
                // The other meta page is the one of before, as if nothing had changed.
                transaction: transaction - (transaction + id) % 2,
            };
            out.put_slice(&meta.encode());
            out.resize(out.len().next_multiple_of(PAGE_BYTES), 0);
        }
        put_page_header(&mut out, FREE_PAGE, FREE, 0, 1);
        out.resize(out.len().next_multiple_of(PAGE_BYTES), 0);
        out.freeze()
    }
}

impl Root {
    /// The value of the bucket's entry.
    fn value(self) -> Bytes {
        let mut out = BytesMut::with_capacity(BUCKET_BYTES);
        out.put_u64_le(self.0.unwrap_or(0));
        out.put_u64_le(0);
        if self.0.is_none() {
            put_page_header(&mut out, 0, LEAF, 0, 1);
        }
        out.freeze()
    }
}

impl Tree {
    /// Adds an entry, whose key is above those before.
    pub fn put(&mut self, pages: &mut Pages, key: Bytes, value: Bytes) {
        if let Some((last, _)) = self.leaf.last() {
            assert!(*last < key, "entries come by key");
        }
        let bytes = ELEMENT_BYTES + key.len() + value.len();
        let room = PAGE_BYTES - PAGE_HEADER_BYTES;
        if !self.leaf.is_empty() && self.leaf_bytes + bytes > room {
            self.end_leaf(pages);
        }
        self.leaf_bytes += bytes;
        self.entries += 1;
        self.leaf.push((key, value));
    }

    /// How many entries there are.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Writes what is left.
    #[must_use]
    pub fn finish(mut self, pages: &mut Pages) -> Root {
        if self.entries == 0 {
            return Root(None);
        }
        self.end_leaf(pages);
        let mut level = 0;
        loop {
            let children = std::mem::take(&mut self.branches[level]);
            if let [(_, only)] = children[..] {
                return Root(Some(only));
            }
            let fitting = fitting(&children);
            // Two at least for the second page, as bbolt has it.
            let first = if fitting < children.len() && fitting > 2 {
                children.len() - 2
            } else {
                children.len()
            };
            let (first, second) = children.split_at(first);
            self.end_branch(pages, level, first);
            if !second.is_empty() {
                self.end_branch(pages, level, second);
            }
            level += 1;
        }
    }

    fn end_leaf(&mut self, pages: &mut Pages) {
        let entries = std::mem::take(&mut self.leaf);
        self.leaf_bytes = 0;
        let id = pages.leaf(&entries, 0);
        let first = entries.into_iter().next().expect("a leaf that ends has entries");
        self.add_child(pages, 0, first.0, id);
    }

    fn add_child(&mut self, pages: &mut Pages, level: usize, first: Bytes, id: u64) {
        if self.branches.len() == level {
            self.branches.push(Vec::new());
        }
        let children = &mut self.branches[level];
        children.push((first, id));
        let fitting = fitting(children);
        // What is left is a page by itself, whatever comes.
        if children.len() >= fitting + 2 {
            let full: Vec<_> = children.drain(..fitting).collect();
            self.end_branch(pages, level, &full);
        }
    }

    fn end_branch(&mut self, pages: &mut Pages, level: usize, children: &[(Bytes, u64)]) {
        let id = pages.branch(children);
        self.add_child(pages, level + 1, children[0].0.clone(), id);
    }
}

/// How many of these fit on a page: two at least, which may need more than one.
fn fitting(children: &[(Bytes, u64)]) -> usize {
    let mut bytes = PAGE_HEADER_BYTES;
    let fitting = children.iter().take_while(|(key, _)| {
        bytes += ELEMENT_BYTES + key.len();
        bytes <= PAGE_BYTES
    });
    fitting.count().max(2)
}

fn put_page_header(out: &mut BytesMut, id: u64, flags: u16, elements: usize, pages: usize) {
    out.put_u64_le(id);
    out.put_u16_le(flags);
    out.put_u16_le(u16::try_from(elements).expect("a page has far fewer elements"));
    out.put_u32_le(number(pages - 1));
}

fn number(number: usize) -> u32 {
    u32::try_from(number).expect("entries are far below 4 GiB")
}
