//! Answers as lines for people and shells, the way etcdctl prints them.

use std::io::{self, Write};

use anyhow::Context;
use synod_etcd::proto::etcdserverpb::response_op::Response;
use synod_etcd::proto::etcdserverpb::{
    DeleteRangeResponse, PutResponse, RangeResponse, TxnResponse,
};
use synod_etcd::proto::mvccpb::KeyValue;

/// What of a range to print.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RangeForm {
    /// Only the count.
    pub(crate) count_only: bool,
    /// Only keys.
    pub(crate) keys_only: bool,
    /// Only values.
    pub(crate) values_only: bool,
}

/// Writes to standard output, at once and whole.
pub(crate) fn print(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> anyhow::Result<()> {
    let mut text = Vec::new();
    write(&mut text)?;
    io::stdout().write_all(&text).context("cannot write to standard output")
}

/// `OK`, and what was there before.
pub(crate) fn put(out: &mut Vec<u8>, answer: &PutResponse) -> io::Result<()> {
    writeln!(out, "OK")?;
    answer.prev_kv.iter().try_for_each(|kv| pair(out, kv))
}

/// Keys and values, each on its line.
pub(crate) fn range(out: &mut Vec<u8>, answer: &RangeResponse, form: RangeForm) -> io::Result<()> {
    if form.count_only {
        return writeln!(out, "{}", answer.count);
    }
    for kv in &answer.kvs {
        if !form.values_only {
            line(out, &kv.key)?;
        }
        if !form.keys_only {
            line(out, &kv.value)?;
        }
    }
    Ok(())
}

/// How many were deleted, and what they held.
pub(crate) fn delete_range(out: &mut Vec<u8>, answer: &DeleteRangeResponse) -> io::Result<()> {
    writeln!(out, "{}", answer.deleted)?;
    answer.prev_kvs.iter().try_for_each(|kv| pair(out, kv))
}

/// Which branch was taken, and what each operation of it answered.
pub(crate) fn txn(out: &mut Vec<u8>, answer: &TxnResponse) -> io::Result<()> {
    writeln!(out, "{}", if answer.succeeded { "SUCCESS" } else { "FAILURE" })?;
    for op in &answer.responses {
        writeln!(out)?;
        match &op.response {
            Some(Response::ResponsePut(answer)) => put(out, answer)?,
            Some(Response::ResponseRange(answer)) => range(out, answer, RangeForm::default())?,
            Some(Response::ResponseDeleteRange(answer)) => delete_range(out, answer)?,
            Some(Response::ResponseTxn(answer)) => txn(out, answer)?,
            None => {}
        }
    }
    Ok(())
}

/// A key and what it holds.
pub(crate) fn pair(out: &mut Vec<u8>, kv: &KeyValue) -> io::Result<()> {
    line(out, &kv.key)?;
    line(out, &kv.value)
}

fn line(out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)?;
    out.write_all(b"\n")
}
