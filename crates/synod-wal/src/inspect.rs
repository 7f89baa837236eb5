//! Looks at a log without touching it: also one that is damaged, or in use by a running member.
//!
//! [`inspect`] gives line after line: each file, each record, and where the records of a segment
//! stop and why. A line prints itself for people, and as JSON. What stands behind the stop of a
//! damaged segment is shown too, marked as not chained. Of a log in use the last lines may be of a
//! write that is under way.
//!
//! Files are opened for reading only, and no lock is taken. One segment at a time is in memory.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use serde_json::{Value, json};

use crate::decide::{Seal, StopVerdict, decide_stop};
use crate::format::{BadSegmentHeader, Class, SEGMENT_HEADER_LEN, SegmentHeader};
use crate::names::Name;
use crate::options::SEGMENT_BYTES_MAX;
use crate::position::Position;
use crate::recover::stop_facts;
use crate::scan::{Found, Walk};

/// Looks at the log in a folder. `describe` gets the kind and the payload of each intact record of
/// the user and says in a few words what it is.
pub fn inspect<F>(folder: &Path, describe: F) -> io::Result<Inspection<F>>
where
    F: FnMut(u8, &[u8]) -> String,
{
    let mut segments = Vec::new();
    let mut others = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
        let other = |role| Line::Other { file: file.clone(), bytes, role };
        match Name::parse(&file) {
            Some(Name::Segment(number)) => segments.push(number),
            Some(Name::Spare(_)) => others.push(other("spare, waiting for reuse")),
            Some(Name::Half(_)) => others.push(other("unfinished, removed at the next start")),
            None => others.push(other("not of the log")),
        }
    }
    segments.sort_unstable();
    others.sort_by_key(|line| line.to_string());
    let first_needed = first_needed(folder, segments.last().copied());
    let (segments, lines) = (segments.into(), others.into());
    Ok(Inspection { folder: folder.to_owned(), describe, segments, lines, first_needed })
}

/// The lines about a log, read as they are asked for.
pub struct Inspection<F> {
    folder: PathBuf,
    describe: F,
    /// Those not read yet.
    segments: VecDeque<u64>,
    /// Those not given out yet.
    lines: VecDeque<Line>,
    first_needed: u64,
}

/// One thing seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Line {
    /// A file that is no segment.
    Other {
        /// Its name.
        file: String,
        /// Its length.
        bytes: u64,
        /// What it is for.
        role: &'static str,
    },
    /// A segment.
    Segment {
        /// Its number.
        number: u64,
        /// Its file's length.
        bytes: u64,
        /// What its header says, or what is wrong with it.
        header: Result<Header, String>,
    },
    /// A segment that should be there.
    Missing {
        /// Its number.
        number: u64,
    },
    /// A record, or what is left of it.
    Record(RecordLine),
    /// Where the records of a segment stop.
    Stop {
        /// The segment's number.
        segment: u64,
        /// The offset in its file.
        offset: u64,
        /// Whether the log is well here.
        ok: bool,
        /// What was found, in words.
        verdict: String,
    },
}

/// What a segment's header says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// The owner, in hexadecimal digits.
    pub owner: String,
    /// The number of the segment.
    pub number: u64,
    /// The size of segments.
    pub segment_bytes: u64,
    /// The session that made it.
    pub session: u32,
    /// The first segment needed at that time.
    pub first_needed: u64,
    /// Where the records of the segment before end.
    pub sealed_end: Position,
}

/// What is known of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordLine {
    /// Its position.
    pub position: Position,
    /// The segment's number.
    pub segment: u64,
    /// The offset in the segment's file.
    pub offset: u64,
    /// The session that wrote it.
    pub session: u32,
    /// Whose it is: `user`, or the log's own `opened`, `trimmed`, `proof`.
    pub class: &'static str,
    /// The user's kind.
    pub kind: u8,
    /// The length of the payload.
    pub length: u32,
    /// All below had been synced when it was written.
    pub synced: Position,
    /// Its checksum matches.
    pub checksum_ok: bool,
    /// It continues the record before.
    pub chain_ok: bool,
    /// What the caller says about it.
    pub text: String,
}

impl<F: FnMut(u8, &[u8]) -> String> Iterator for Inspection<F> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<io::Result<Line>> {
        while self.lines.is_empty() {
            let number = self.segments.pop_front()?;
            if let Err(error) = self.read_segment(number) {
                return Some(Err(error));
            }
        }
        self.lines.pop_front().map(Ok)
    }
}

impl<F: FnMut(u8, &[u8]) -> String> Inspection<F> {
    fn read_segment(&mut self, number: u64) -> io::Result<()> {
        let (bytes, image) = match read_image(&self.folder, number) {
            // A running member may have given it up since the folder was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read?,
        };
        let header = SegmentHeader::decode(&image);
        self.lines.push_back(Line::Segment { number, bytes, header: header_line(&header) });
        if let Ok((header, salt)) = header {
            self.read_records(number, &image, &header, salt);
        }
        if let Some(&next) = self.segments.front() {
            let gap = number.saturating_add(1).max(self.first_needed)..next;
            // A damaged name can make a gap of any width; a few numbers tell it as well.
            self.lines.extend(gap.take(GAP_LINES_MAX).map(|number| Line::Missing { number }));
        }
        Ok(())
    }

    fn read_records(&mut self, number: u64, image: &[u8], header: &SegmentHeader, salt: u64) {
        let size = usize::try_from(header.segment_bytes).unwrap_or(usize::MAX);
        let image = &image[..image.len().min(size)];
        let mut walk = Walk::new(image, header, salt);
        for found in &mut walk {
            let line = self.record_line(number, &found, true, true);
            self.lines.push_back(Line::Record(line));
        }
        for (found, checksum_ok) in walk.stranded() {
            let line = self.record_line(number, &found, checksum_ok, false);
            self.lines.push_back(Line::Record(line));
        }
        let next = self.next_header(number);
        let (facts, synced) = stop_facts(&walk, next.as_ref());
        let whole = image.len() == size;
        let verdict = decide_stop(&facts);
        let sealed = facts.seal != Seal::None;
        self.lines.push_back(Line::Stop {
            segment: number,
            offset: u64::try_from(walk.offset()).unwrap_or(u64::MAX),
            ok: whole && !matches!(verdict, StopVerdict::SealBroken | StopVerdict::SyncedLost),
            verdict: verdict_text(verdict, sealed, whole, synced),
        });
    }

    fn next_header(&self, number: u64) -> Option<SegmentHeader> {
        let next = self.segments.front().copied()?;
        if number.checked_add(1) != Some(next) {
            return None;
        }
        read_header(&self.folder, next)?.ok().map(|(header, _)| header)
    }

    fn record_line(
        &mut self,
        segment: u64,
        found: &Found<'_>,
        checksum_ok: bool,
        chain_ok: bool,
    ) -> RecordLine {
        let header = &found.header;
        let text = match (checksum_ok, header.class) {
            (false, _) => "payload does not match the checksum".to_owned(),
            (true, Class::User) => (self.describe)(header.kind, found.payload),
            (true, Class::Opened) => format!("log opened, session {} begins", header.session),
            (true, Class::Trimmed) => {
                let first = found.first_needed().unwrap_or_default();
                format!("segments below {first} are needed no more")
            }
            (true, Class::Proof) => "all before is durable".to_owned(),
        };
        RecordLine {
            position: header.position,
            segment,
            offset: found.offset,
            session: header.session,
            class: class_name(header.class),
            kind: header.kind,
            length: header.payload_len,
            synced: header.synced,
            checksum_ok,
            chain_ok,
            text,
        }
    }
}

impl Line {
    /// Whether it tells of damage.
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Segment { header, .. } => header.is_err(),
            Self::Missing { .. } => true,
            Self::Stop { ok, .. } => !*ok,
            Self::Other { .. } | Self::Record(_) => false,
        }
    }

    /// The line as a JSON object; `line` says what of.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Other { file, bytes, role } => {
                json!({ "line": "other", "file": file, "bytes": bytes, "role": role })
            }
            Self::Segment { number, bytes, header: Ok(header) } => json!({
                "line": "segment", "segment": number, "bytes": bytes, "header_ok": true,
                "owner": header.owner, "number": header.number,
                "segment_bytes": header.segment_bytes, "session": header.session,
                "first_needed": header.first_needed, "sealed_end": header.sealed_end.to_u64(),
            }),
            Self::Segment { number, bytes, header: Err(problem) } => json!({
                "line": "segment", "segment": number, "bytes": bytes, "header_ok": false,
                "problem": problem,
            }),
            Self::Missing { number } => json!({ "line": "missing", "segment": number }),
            Self::Record(record) => json!({
                "line": "record", "position": record.position.to_u64(),
                "segment": record.segment, "offset": record.offset, "session": record.session,
                "class": record.class, "kind": record.kind, "length": record.length,
                "synced": record.synced.to_u64(), "checksum_ok": record.checksum_ok,
                "chain_ok": record.chain_ok, "text": record.text,
            }),
            Self::Stop { segment, offset, ok, verdict } => json!({
                "line": "stop", "segment": segment, "offset": offset, "ok": ok,
                "verdict": verdict,
            }),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other { file, bytes, role } => write!(f, "file {file}, {bytes} bytes: {role}"),
            Self::Segment { number, bytes, header: Ok(header) } => write!(
                f,
                "segment {number}, {bytes} bytes, owner {}, made in session {}",
                header.owner, header.session
            ),
            Self::Segment { number, bytes, header: Err(problem) } => {
                write!(f, "segment {number}, {bytes} bytes: DAMAGED, {problem}")
            }
            Self::Missing { number } => write!(f, "segment {number}: MISSING"),
            Self::Record(record) => write!(f, "{record}"),
            Self::Stop { segment, offset, ok, verdict } => {
                let mark = if *ok { "" } else { "DAMAGED, " };
                write!(f, "segment {segment} stops at offset {offset}: {mark}{verdict}")
            }
        }
    }
}

impl fmt::Display for RecordLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, class, kind, length, text, .. } = self;
        write!(f, "  {position:>12}  {class:<7} {kind:>3}  {length:>8} bytes  {text}")?;
        if !self.checksum_ok {
            f.write_str("  [checksum wrong]")?;
        }
        if !self.chain_ok {
            f.write_str("  [not chained]")?;
        }
        Ok(())
    }
}

fn first_needed(folder: &Path, last: Option<u64>) -> u64 {
    let tail = last.and_then(|last| read_image(folder, last).ok());
    let Some((_, image)) = tail else { return 0 };
    let Ok((header, salt)) = SegmentHeader::decode(&image) else { return 0 };
    let walk = Walk::new(&image, &header, salt);
    walk.filter_map(|found| found.first_needed()).fold(header.first_needed, u64::max)
}

fn read_image(folder: &Path, number: u64) -> io::Result<(u64, Vec<u8>)> {
    let file = File::open(folder.join(Name::Segment(number).file()))?;
    let bytes = file.metadata()?.len();
    let mut image = Vec::new();
    file.take(SEGMENT_BYTES_MAX).read_to_end(&mut image)?;
    Ok((bytes, image))
}

type DecodedHeader = Result<(SegmentHeader, u64), BadSegmentHeader>;

fn read_header(folder: &Path, number: u64) -> Option<DecodedHeader> {
    let mut file = File::open(folder.join(Name::Segment(number).file())).ok()?;
    let mut bytes = [0; SEGMENT_HEADER_LEN];
    file.read_exact(&mut bytes).ok()?;
    Some(SegmentHeader::decode(&bytes))
}

fn header_line(header: &DecodedHeader) -> Result<Header, String> {
    match header {
        Ok((header, _)) => Ok(Header {
            owner: header.owner.to_string(),
            number: header.number,
            segment_bytes: header.segment_bytes,
            session: header.session,
            first_needed: header.first_needed,
            sealed_end: header.sealed_end,
        }),
        Err(BadSegmentHeader::Broken) => {
            Err("the header does not match its checksum; without it no record can be read".into())
        }
        Err(BadSegmentHeader::Newer(version)) => {
            Err(format!("format version {version} is newer than this release"))
        }
    }
}

fn verdict_text(verdict: StopVerdict, sealed: bool, whole: bool, synced: Position) -> String {
    let text = match verdict {
        StopVerdict::Whole => "complete, as the next segment says".to_owned(),
        StopVerdict::CleanEnd => "end of the log, nothing behind".to_owned(),
        StopVerdict::RemainsBehind => {
            "end of the log; behind are remains of an earlier use or of an unfinished write".into()
        }
        StopVerdict::TornTail => {
            "end of the log; behind are parts of a write that was never synced".to_owned()
        }
        StopVerdict::SealBroken => {
            debug_assert!(sealed, "only a next segment seals");
            "the next segment says that records end elsewhere or otherwise".to_owned()
        }
        StopVerdict::SyncedLost => {
            format!("a later record proves that all below {synced} had been synced")
        }
    };
    if whole { text } else { format!("{text}; the file is too short") }
}

const fn class_name(class: Class) -> &'static str {
    match class {
        Class::User => "user",
        Class::Opened => "opened",
        Class::Trimmed => "trimmed",
        Class::Proof => "proof",
    }
}

/// How many missing segments in a row are named.
const GAP_LINES_MAX: usize = 16;
