//! The text of a transaction.
//!
//! A word may stand in double quotes, with `\"`, `\\`, `\n`, `\r`, `\t` and `\xHH` inside, or in
//! single quotes or backquotes, where everything means itself. Numbers may be quoted too.

use std::ffi::OsString;
use std::iter::Peekable;
use std::os::unix::ffi::OsStringExt;
use std::str::Chars;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::{Parser, Subcommand};
use synod_etcd::Refusal;
use synod_etcd::proto::etcdserverpb as pb;
use synod_kv::{Compare, Comparison, KeyRange, Op, Target};

use crate::del::DelOp;
use crate::get::GetOp;
use crate::keys;
use crate::put::PutOp;

/// Understands three blocks of lines. What is missing at the end counts as empty.
pub(super) fn txn(input: &str) -> anyhow::Result<pb::TxnRequest> {
    let mut blocks = [const { Vec::new() }; 3];
    let mut block = 0;
    for (at, line) in input.lines().enumerate() {
        let line = line.trim();
        match blocks.get_mut(block) {
            _ if line.is_empty() => block += 1,
            Some(lines) => lines.push((at + 1, line)),
            None => bail!("line {}: {line:?} follows the third block", at + 1),
        }
    }
    let [compares, success, failure] = blocks;
    Ok(pb::TxnRequest {
        compare: each(&compares, |line| Ok(compare(line)?.into()))?,
        success: each(&success, |line| Ok(op(line)?.into()))?,
        failure: each(&failure, |line| Ok(op(line)?.into()))?,
    })
}

fn each<T>(
    lines: &[(usize, &str)],
    understand: impl Fn(&str) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let understood = |&(at, line): &(usize, &str)| {
        understand(line).with_context(|| format!("line {at}: {line}"))
    };
    lines.iter().map(understood).collect()
}

/// `target("key") = "value"`
fn compare(line: &str) -> anyhow::Result<Compare> {
    let (name, rest) = line.split_once('(').context("a condition is like mod(\"key\") > \"0\"")?;
    let mut rest = rest.trim_start().chars().peekable();
    let key = word(&mut rest, |c| c == ')')?;
    skip_blanks(&mut rest);
    if rest.next() != Some(')') {
        bail!("the key is not followed by )");
    }
    skip_blanks(&mut rest);
    let mut sign = String::new();
    while let Some(c) = rest.next_if(|c| "=!<>".contains(*c)) {
        sign.push(c);
    }
    let comparison = match sign.as_str() {
        "=" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        "<" => Comparison::Less,
        ">" => Comparison::Greater,
        _ => bail!("{sign:?} compares nothing: =, !=, < or >"),
    };
    skip_blanks(&mut rest);
    let value = word(&mut rest, |_| false)?;
    skip_blanks(&mut rest);
    if let Some(c) = rest.next() {
        bail!("{c:?} follows the condition");
    }
    let keys = KeyRange::new(Bytes::from(key), Bytes::new()).map_err(Refusal::from)?;
    Ok(Compare { keys, comparison, target: target(name.trim(), value)? })
}

fn target(name: &str, value: Vec<u8>) -> anyhow::Result<Target> {
    let text = || std::str::from_utf8(&value).context("the number is not text");
    let number = || {
        let text = text()?;
        text.parse().map_err(|_| anyhow!("{text:?} is not a number"))
    };
    Ok(match name {
        "ver" | "version" => Target::Version(number()?),
        "c" | "create" => Target::Create(number()?),
        "m" | "mod" => Target::Mod(number()?),
        "lease" => Target::Lease(keys::lease(text()?).map_err(anyhow::Error::msg)?),
        "val" | "value" => Target::Value(Bytes::from(value)),
        _ => bail!("{name:?} cannot be compared: create, mod, version, value or lease"),
    })
}

/// An operation, as a command line of its own.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    op: LineOp,
}

#[derive(Debug, Subcommand)]
enum LineOp {
    Put(PutOp),
    Get(GetOp),
    Del(DelOp),
}

fn op(line: &str) -> anyhow::Result<Op> {
    let mut words = Vec::new();
    let mut rest = line.chars().peekable();
    loop {
        skip_blanks(&mut rest);
        if rest.peek().is_none() {
            break;
        }
        words.push(OsString::from_vec(word(&mut rest, |_| false)?));
    }
    let line = Line::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        anyhow!("{}", first.trim_start_matches("error: "))
    })?;
    Ok(match line.op {
        LineOp::Put(put) => Op::Put(put.put(|| bail!("put needs a value here"))?),
        LineOp::Get(get) => Op::Range(get.read()?.range),
        LineOp::Del(delete) => Op::DeleteRange(delete.delete()?),
    })
}

/// The next word; without quotes it ends at a blank or where `ends` says.
fn word(rest: &mut Peekable<Chars<'_>>, ends: impl Fn(char) -> bool) -> anyhow::Result<Vec<u8>> {
    match rest.peek() {
        Some('"') => escaped(rest),
        Some(&quote @ ('\'' | '`')) => {
            rest.next();
            let mut word = String::new();
            loop {
                match rest.next() {
                    Some(c) if c == quote => return Ok(word.into_bytes()),
                    Some(c) => word.push(c),
                    None => bail!("{quote} is not closed"),
                }
            }
        }
        Some(_) => {
            let mut word = String::new();
            while let Some(c) = rest.next_if(|c| !c.is_whitespace() && !ends(*c)) {
                word.push(c);
            }
            Ok(word.into_bytes())
        }
        None => bail!("a word is missing"),
    }
}

fn escaped(rest: &mut Peekable<Chars<'_>>) -> anyhow::Result<Vec<u8>> {
    rest.next();
    let mut word = Vec::new();
    loop {
        let c = rest.next().context("\" is not closed")?;
        let c = match c {
            '"' => return Ok(word),
            '\\' => match rest.next().context("\" is not closed")? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'x' => {
                    let digits: String = rest.by_ref().take(2).collect();
                    let byte = u8::from_str_radix(&digits, 16)
                        .with_context(|| format!("\\x{digits} is not a byte"))?;
                    word.push(byte);
                    continue;
                }
                c @ ('"' | '\\' | '\'') => c,
                c => bail!("\\{c} means nothing"),
            },
            c => c,
        };
        word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

fn skip_blanks(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|c| c.is_whitespace()).is_some() {}
}

#[cfg(test)]
mod tests;
