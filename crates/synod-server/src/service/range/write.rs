//! Commands that write and tell keys and values: what ranges in a transaction find, and what keys
//! held before.
//!
//! Such an answer is put together while the command is applied, on the member that answers and
//! nowhere else; so the memory must be there before the command is sent. How much it takes is
//! measured first, lent from the budget of ranges, and carried in the command as its bound. If
//! keys have grown in the meantime the command is refused, on all members alike and without any
//! effect, and is sent again with more.

use std::sync::Arc;

use prost::Message;
use synod_etcd::Refusal;
use synod_kv::{ApplyError, Command, KeyRange, Op, Response as StoreResponse, Txn};
use tonic::{Extensions, Response};

use super::super::access::Caller;
use super::super::kv::is_short;
use super::super::{Context, mismatch};
use super::budget::Held;
use super::whole::{self, AsJson};
use crate::http::JSON_FACTOR;

/// What an answer takes besides what was measured at first: keys may grow until it is applied.
const SPARE_BYTES: u64 = 4 << 10;

/// Keys and values are there twice when the answer is encoded.
const COPIES: u64 = 2;

/// More than this is not told, whatever the budget: it must be a message.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// What the answer is to be.
#[derive(Clone, Copy, Debug)]
struct Asked {
    is_json: bool,
}

/// Carries out a command, and makes a message of what it answers.
pub(in super::super) async fn write<M: Message + Default>(
    context: &Arc<Context>,
    caller: &Caller,
    extensions: &Extensions,
    command: Command,
    message: impl FnOnce(StoreResponse) -> Result<M, StoreResponse>,
) -> Result<Response<M>, tonic::Status> {
    if !command.tells_keys() {
        let answer = context.propose(caller, &command).await?;
        return Ok(Response::new(message(answer).map_err(|other| mismatch(&other))?));
    }
    let asked = Asked { is_json: extensions.get::<AsJson>().is_some() };
    let (answer, held) = propose(context, caller, asked, command).await?;
    let message = message(answer).map_err(|other| mismatch(&other))?;
    Ok(whole::answer(context, message, held, asked.is_json))
}

async fn propose(
    context: &Arc<Context>,
    caller: &Caller,
    asked: Asked,
    command: Command,
) -> Result<(StoreResponse, Held), Refusal> {
    let command = Arc::new(command);
    let most = (context.ranges.limits().request_bytes / asked.copies()).min(ANSWER_BYTES_MAX);
    let mut spare = SPARE_BYTES;
    loop {
        let measured = measured(context, caller, &command, most).await?;
        let bytes_max = measured.saturating_add(measured / 8).saturating_add(spare).min(most);
        let held = context.ranges.reserve(bytes_max * asked.copies()).await;
        let held = held.map_err(Refusal::never_applied)?;
        match context.propose_within(caller, &command, Some(bytes_max)).await? {
            // It has grown since, or another branch was taken than would have been.
            Err(ApplyError::AnswerTooLarge { .. }) if bytes_max < most => spare *= 4,
            answer => return Ok((answer?, held)),
        }
    }
}

async fn measured(
    context: &Arc<Context>,
    caller: &Caller,
    command: &Arc<Command>,
    most: u64,
) -> Result<u64, Refusal> {
    let measured = Arc::clone(command);
    context
        .read(caller, is_short_command(command), move |context, who| {
            Ok(context.reader.answer_bytes(who, &measured, most))
        })
        .await
}

/// Whether it is cheap to measure.
fn is_short_command(command: &Command) -> bool {
    match command {
        Command::DeleteRange(delete) => matches!(delete.keys, KeyRange::Single(_)),
        Command::Txn(txn) => is_short_txn(txn),
        _ => true,
    }
}

fn is_short_txn(txn: &Txn) -> bool {
    txn.success().iter().chain(txn.failure()).all(|op| match op {
        Op::Range(range) => is_short(range),
        Op::DeleteRange(delete) => !delete.prev_kv || matches!(delete.keys, KeyRange::Single(_)),
        Op::Put(_) => true,
        Op::Txn(_) => false,
    })
}

impl Asked {
    /// How often the answer is in memory at most.
    const fn copies(self) -> u64 {
        if self.is_json { COPIES + JSON_FACTOR } else { COPIES }
    }
}
