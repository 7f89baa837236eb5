//! `InitialCorruptCheck`: before it serves clients, a member compares its store with the others'.
//!
//! It asks each of them for the hash of all keys at the revision it has itself, within the time
//! that a request may take. As in etcd one answer that differs ends the process; who does not
//! answer, is behind or has compacted that revision is warned of. A member without data has
//! nothing to compare.
//!
//! ```text
//!   frame := 0 4 revision:u64              the question; see `round_trip` for the first byte
//!          | 0 5 revision:u64 hash:u32     its answer
//!          | 0 6 revision:u64              it has none: not there yet, or compacted
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use synod_kv::{Caller, Revision};
use synod_transport::Lane;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::round_trip::MARK;
use crate::server::FatalReason;
use crate::service::Context;

const ASKED: u8 = 4;
const TOLD: u8 = 5;
const UNTOLD: u8 = 6;
/// Until a question that was not answered is asked again: it may have been lost.
const AGAIN: Duration = Duration::from_millis(500);

/// What others have answered, and what they ask.
#[derive(Debug, Default)]
pub(crate) struct InitialCheck {
    heard: Mutex<BTreeMap<u64, Heard>>,
    news: Notify,
    /// A hash is being made for another member: one at a time, since all keys are read for it.
    is_busy: AtomicBool,
}

/// A member's last answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Heard {
    revision: u64,
    /// None if it has none to tell.
    hash: Option<u32>,
}

/// What it takes to answer others. The transport has it and may outlive the member by a moment, in
/// which it must not hold the store.
#[derive(Debug)]
pub(crate) struct Answering {
    pub(crate) context: Weak<Context>,
    /// Where the work is done: who takes frames has no time for it.
    pub(crate) runtime: Handle,
}

impl Answering {
    /// Answers a question or notes an answer; none if the frame is for others.
    pub(crate) fn take(&self, from: u64, frame: &Bytes) -> Option<()> {
        let ([MARK, kind], rest) = frame.split_first_chunk()? else { return None };
        let (revision, rest) = rest.split_first_chunk()?;
        let revision = u64::from_le_bytes(*revision);
        let Some(context) = self.context.upgrade() else { return Some(()) };
        match (*kind, rest) {
            (ASKED, []) => tell(&self.runtime, context, from, revision),
            (TOLD, hash) => {
                let hash = Some(u32::from_le_bytes(hash.try_into().ok()?));
                context.initial_check.note(from, Heard { revision, hash });
            }
            (UNTOLD, []) => context.initial_check.note(from, Heard { revision, hash: None }),
            _ => return None,
        }
        Some(())
    }
}

/// Answers a question.
fn tell(runtime: &Handle, context: Arc<Context>, to: u64, revision: u64) {
    // Who is not answered asks again.
    if context.initial_check.is_busy.swap(true, Ordering::AcqRel) {
        return;
    }
    runtime.spawn_blocking(move || {
        let at = i64::try_from(revision).ok().map(Revision::new);
        let hash = at.and_then(|at| context.reader.hash_kv(&Caller::Internal, Some(at)).ok());
        context.initial_check.is_busy.store(false, Ordering::Release);
        if let Some(transport) = context.transport.get() {
            transport.send(to, Lane::Control, answer(revision, hash.map(|found| found.hash)));
        }
    });
}

impl InitialCheck {
    fn note(&self, from: u64, heard: Heard) {
        self.heard.lock().insert(from, heard);
        self.news.notify_one();
    }

    /// What a member has answered about a revision; none if nothing yet.
    fn heard(&self, member: u64, revision: u64) -> Option<Option<u32>> {
        let heard = self.heard.lock().get(&member).copied()?;
        (heard.revision == revision).then_some(heard.hash)
    }
}

/// Compares, if it is wanted, and says why the member must not go on.
pub(crate) async fn run(context: &Arc<Context>) -> Result<(), FatalReason> {
    let config = &context.config;
    let others: Vec<u64> =
        config.members.iter().map(|one| one.id).filter(|id| *id != config.member_id).collect();
    if !config.initial_corrupt_check || others.is_empty() {
        return Ok(());
    }
    let reader = context.reader.clone();
    let own = tokio::task::spawn_blocking(move || reader.hash_kv(&Caller::Internal, None)).await;
    let own = own.map_err(|_| FatalReason::Died)?;
    let own = own.map_err(|error| FatalReason::Store(error.to_string()))?;
    let Ok(revision) = u64::try_from(own.hash_revision.as_i64()) else { return Ok(()) };
    if revision <= 1 {
        return Ok(());
    }
    info!(revision, limit = ?config.request_timeout(), "starting initial corruption check");
    // What is missing then is told.
    let _ = timeout(config.request_timeout(), ask(context, &others, revision)).await;
    judge(context, &others, revision, own.hash)
}

/// Asks until all have answered.
async fn ask(context: &Context, others: &[u64], revision: u64) {
    let check = &context.initial_check;
    loop {
        let missing = others.iter().filter(|id| check.heard(**id, revision).is_none());
        let missing: Vec<u64> = missing.copied().collect();
        if missing.is_empty() {
            return;
        }
        if let Some(transport) = context.transport.get() {
            for member in missing {
                transport.send(member, Lane::Control, question(revision));
            }
        }
        // Either way it is looked at again.
        let _ = timeout(AGAIN, check.news.notified()).await;
    }
}

fn judge(context: &Context, others: &[u64], revision: u64, own: u32) -> Result<(), FatalReason> {
    let mut differing = Vec::new();
    for &other in others {
        let member = context.config.name_of(other);
        match context.initial_check.heard(other, revision) {
            Some(Some(hash)) if hash == own => {}
            Some(Some(hash)) => {
                error!(member, revision, own, hash, "found different hash values from remote peer");
                differing.push(member);
            }
            Some(None) => {
                warn!(member, revision, "it is behind this member, or has compacted the revision");
            }
            None => warn!(member, revision, "cannot fetch hash from remote peer: no answer"),
        }
    }
    if differing.is_empty() {
        info!(revision, "initial corruption checking passed; no corruption");
        return Ok(());
    }
    let (member, others) = (context.config.member_id, differing.join(", "));
    Err(FatalReason::Differs { member, others, revision })
}

fn question(revision: u64) -> Bytes {
    frame(ASKED, revision).freeze()
}

fn answer(revision: u64, hash: Option<u32>) -> Bytes {
    let Some(hash) = hash else { return frame(UNTOLD, revision).freeze() };
    let mut frame = frame(TOLD, revision);
    frame.put_u32_le(hash);
    frame.freeze()
}

fn frame(kind: u8, revision: u64) -> BytesMut {
    let mut frame = BytesMut::with_capacity(FRAME_BYTES_MAX);
    frame.put_slice(&[MARK, kind]);
    frame.put_u64_le(revision);
    frame
}

const FRAME_BYTES_MAX: usize = 2 + 8 + 4;
