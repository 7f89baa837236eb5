//! The reader: buckets and their entries, by key upward. Trusts nothing.

use bytes::{Buf, Bytes};

use crate::layout::{
    BRANCH, BUCKET_BYTES, BUCKET_ENTRY, ELEMENT_BYTES, LEAF, META_BYTES, Meta, PAGE_HEADER_BYTES,
};

/// Where the bytes of a file are.
pub trait Source {
    /// Why they cannot be read.
    type Error;

    /// So many bytes from a place on, all of which are inside the file.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read(&self, at: u64, bytes: usize) -> Result<Bytes, Self::Error>;
}

/// A file that cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReadError<E> {
    /// Something else.
    #[error("it is no database of bbolt: neither meta page is whole")]
    NotADatabase,
    /// It ends too early.
    #[error("it is cut short: it has {bytes} bytes, and its pages take {needed}")]
    CutShort {
        /// How many it has.
        bytes: u64,
        /// How many it says it has.
        needed: u64,
    },
    /// It contradicts itself.
    #[error("it is damaged at page {page}: {what}")]
    Damaged {
        /// Where.
        page: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// It cannot be read.
    #[error(transparent)]
    Source(E),
}

/// A file whose meta page was found.
#[derive(Debug)]
pub struct Database<S> {
    source: S,
    meta: Meta,
}

/// A bucket: where its tree begins, or its only page.
#[derive(Clone, Debug)]
pub struct Bucket(Start);

#[derive(Clone, Debug)]
enum Start {
    Page(u64),
    Inline(Bytes),
}

/// An entry of a bucket.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key.
    pub key: Bytes,
    /// Its value; for a bucket what bbolt needs to find it.
    pub value: Bytes,
    /// The bucket, if it is one.
    pub bucket: Option<Bucket>,
}

/// A walk through a bucket.
#[derive(Debug)]
pub struct Cursor<'a, S> {
    database: &'a Database<S>,
    start: Option<Bucket>,
    path: Vec<Step>,
    last_key: Option<Bytes>,
}

/// A page on the way, and the next of its elements.
#[derive(Debug)]
struct Step {
    page: u64,
    kind: u16,
    /// The elements and what is behind them.
    content: Bytes,
    elements: usize,
    next: usize,
}

/// Page sizes there may be, which are powers of 2: those of operating systems.
const PAGE_BYTES_MIN: u32 = 1 << 10;
const PAGE_BYTES_MAX: u32 = 1 << 16;
/// No page has more, overflow included: an entry is a request of etcd's and little more.
const OVERFLOWING_BYTES_MAX: u64 = 1 << 30;
/// Far deeper than any tree.
const DEPTH_MAX: usize = 32;

impl<S: Source> Database<S> {
    /// Finds the meta page of a file with so many bytes.
    ///
    /// # Errors
    /// If there is none, or the file is shorter than it says.
    pub fn open(source: S, bytes: u64) -> Result<Self, ReadError<S::Error>> {
        let mut newest = None::<Meta>;
        let mut at = 0;
        // The second one is where the second page is, and only a meta page says where that is.
        while at <= u64::from(PAGE_BYTES_MAX) {
            if let Some(meta) = meta_at(&source, at, bytes)?
                && (at == 0 || at == u64::from(meta.page_bytes))
                && newest.is_none_or(|newest| newest.transaction < meta.transaction)
            {
                newest = Some(meta);
            }
            at = if at == 0 { u64::from(PAGE_BYTES_MIN) } else { at * 2 };
        }
        let meta = newest.ok_or(ReadError::NotADatabase)?;
        let needed = meta.pages.saturating_mul(u64::from(meta.page_bytes));
        if needed > bytes {
            return Err(ReadError::CutShort { bytes, needed });
        }
        Ok(Self { source, meta })
    }

    /// The number of the last transaction.
    #[must_use]
    pub const fn transaction(&self) -> u64 {
        self.meta.transaction
    }

    /// How many bytes its pages take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.meta.pages * u64::from(self.meta.page_bytes)
    }

    /// The bucket of buckets.
    #[must_use]
    pub const fn root(&self) -> Bucket {
        Bucket(Start::Page(self.meta.root))
    }

    /// The bucket with this name, if there is one.
    ///
    /// # Errors
    /// If the file is damaged, or cannot be read.
    pub fn bucket(&self, name: &str) -> Result<Option<Bucket>, ReadError<S::Error>> {
        let mut buckets = self.walk(self.root());
        while let Some(entry) = buckets.next()? {
            if entry.key == name.as_bytes() {
                return Ok(entry.bucket);
            }
        }
        Ok(None)
    }

    /// Walks through a bucket.
    #[must_use]
    pub const fn walk(&self, bucket: Bucket) -> Cursor<'_, S> {
        Cursor { database: self, start: Some(bucket), path: Vec::new(), last_key: None }
    }

    /// Reads a page with all that overflows.
    fn page(&self, id: u64) -> Result<Step, ReadError<S::Error>> {
        let damaged = |what| ReadError::Damaged { page: id, what };
        if id < 2 || id >= self.meta.pages {
            return Err(damaged("there is no such page"));
        }
        let page_bytes = u64::from(self.meta.page_bytes);
        let header = self.read(id * page_bytes, PAGE_HEADER_BYTES)?;
        let mut input = &header[..];
        if input.get_u64_le() != id {
            return Err(damaged("it is another page"));
        }
        let (_flags, _elements) = (input.get_u16_le(), input.get_u16_le());
        let pages = u64::from(input.get_u32_le()) + 1;
        if pages > self.meta.pages - id {
            return Err(damaged("it overflows beyond the last page"));
        }
        let bytes = pages * page_bytes;
        if bytes > OVERFLOWING_BYTES_MAX {
            return Err(damaged("it is larger than any entry of etcd can make it"));
        }
        let bytes = usize::try_from(bytes).map_err(|_| damaged("it does not fit in memory"))?;
        step(id, self.read(id * page_bytes, bytes)?).map_err(damaged)
    }

    fn read(&self, at: u64, bytes: usize) -> Result<Bytes, ReadError<S::Error>> {
        self.source.read(at, bytes).map_err(ReadError::Source)
    }
}

fn meta_at<S: Source>(
    source: &S,
    at: u64,
    bytes: u64,
) -> Result<Option<Meta>, ReadError<S::Error>> {
    let whole = PAGE_HEADER_BYTES + META_BYTES;
    if bytes < at + u64::try_from(whole).unwrap_or(u64::MAX) {
        return Ok(None);
    }
    let page = source.read(at, whole).map_err(ReadError::Source)?;
    let meta = page.get(PAGE_HEADER_BYTES..).and_then(Meta::decode);
    Ok(meta.filter(|meta| {
        (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&meta.page_bytes)
            && meta.page_bytes.is_power_of_two()
    }))
}

/// The page with this content.
fn step(page: u64, mut content: Bytes) -> Result<Step, &'static str> {
    if content.len() < PAGE_HEADER_BYTES {
        return Err("it is too short");
    }
    let mut header = content.split_to(PAGE_HEADER_BYTES);
    let _id = header.get_u64_le();
    let (kind, elements) = (header.get_u16_le(), usize::from(header.get_u16_le()));
    if kind != BRANCH && kind != LEAF {
        return Err("it is neither a branch nor a leaf");
    }
    if elements * ELEMENT_BYTES > content.len() {
        return Err("its elements do not fit on it");
    }
    Ok(Step { page, kind, content, elements, next: 0 })
}

impl<S: Source> Cursor<'_, S> {
    /// The next entry; none at the end.
    ///
    /// # Errors
    /// If the file is damaged, or cannot be read.
    #[expect(clippy::should_implement_trait, reason = "it can fail, and ends when it does")]
    pub fn next(&mut self) -> Result<Option<Entry>, ReadError<S::Error>> {
        match self.start.take() {
            Some(Bucket(Start::Page(id))) => self.path.push(self.database.page(id)?),
            Some(Bucket(Start::Inline(content))) => {
                let page = step(0, content).map_err(|what| ReadError::Damaged { page: 0, what })?;
                if page.kind != LEAF {
                    return Err(page.damaged("what is in place of a bucket is no leaf"));
                }
                self.path.push(page);
            }
            None => {}
        }
        while let Some(step) = self.path.last_mut() {
            if step.next == step.elements {
                self.path.pop();
                continue;
            }
            let at = step.next;
            step.next += 1;
            if step.kind == BRANCH {
                self.descend(at)?;
            } else {
                return self.entry(at).map(Some);
            }
        }
        Ok(None)
    }

    fn descend(&mut self, at: usize) -> Result<(), ReadError<S::Error>> {
        let depth = self.path.len();
        let Some(step) = self.path.last() else { return Ok(()) };
        if depth == DEPTH_MAX {
            return Err(step.damaged("the tree is too deep"));
        }
        let (key, child) = step.child(at).map_err(|what| step.damaged(what))?;
        if self.last_key.as_ref().is_some_and(|last| *last >= key) {
            return Err(step.damaged("keys are not in order"));
        }
        let child = self.database.page(child)?;
        if child.elements == 0 {
            return Err(child.damaged("it has no elements"));
        }
        self.path.push(child);
        Ok(())
    }

    fn entry(&mut self, at: usize) -> Result<Entry, ReadError<S::Error>> {
        let Some(step) = self.path.last() else {
            return Err(ReadError::Damaged { page: 0, what: "it has no pages" });
        };
        let entry = step.entry(at).map_err(|what| step.damaged(what))?;
        if self.last_key.as_ref().is_some_and(|last| *last >= entry.key) {
            return Err(step.damaged("keys are not in order"));
        }
        self.last_key = Some(entry.key.clone());
        Ok(entry)
    }
}

impl Step {
    const fn damaged<E>(&self, what: &'static str) -> ReadError<E> {
        ReadError::Damaged { page: self.page, what }
    }

    fn child(&self, at: usize) -> Result<(Bytes, u64), &'static str> {
        let mut element = &self.content[at * ELEMENT_BYTES..];
        let (from, key_bytes) = (element.get_u32_le(), element.get_u32_le());
        let child = element.get_u64_le();
        Ok((self.data(at, from, key_bytes)?, child))
    }

    fn entry(&self, at: usize) -> Result<Entry, &'static str> {
        let mut element = &self.content[at * ELEMENT_BYTES..];
        let (flags, from) = (element.get_u32_le(), element.get_u32_le());
        let (key_bytes, value_bytes) = (element.get_u32_le(), element.get_u32_le());
        let bytes = key_bytes.checked_add(value_bytes).ok_or("an entry is too large")?;
        let mut value = self.data(at, from, bytes)?;
        let key = value.split_to(key_bytes.try_into().unwrap_or(usize::MAX).min(value.len()));
        let bucket = match flags {
            0 => None,
            BUCKET_ENTRY => Some(bucket(&value)?),
            _ => return Err("an entry has unknown flags"),
        };
        Ok(Entry { key, value, bucket })
    }

    /// What an element points to.
    fn data(&self, element: usize, from: u32, bytes: u32) -> Result<Bytes, &'static str> {
        let range = (|| {
            let from = (element * ELEMENT_BYTES).checked_add(usize::try_from(from).ok()?)?;
            let to = from.checked_add(usize::try_from(bytes).ok()?)?;
            let behind = from >= self.elements * ELEMENT_BYTES || from == to;
            (behind && to <= self.content.len()).then_some(from..to)
        })();
        range.map(|range| self.content.slice(range)).ok_or("an element points outside of it")
    }
}

/// The bucket of an entry's value.
fn bucket(value: &Bytes) -> Result<Bucket, &'static str> {
    if value.len() < BUCKET_BYTES {
        return Err("a bucket is cut short");
    }
    let root = value.clone().get_u64_le();
    Ok(Bucket(if root == 0 {
        Start::Inline(value.slice(BUCKET_BYTES..))
    } else {
        Start::Page(root)
    }))
}
