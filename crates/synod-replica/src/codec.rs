//! The codec of peer messages and of log records, written by hand and pinned to the byte.
//!
//! ```text
//!   frame    version u8 │ tag u8 │ group u32 │ the message's fields in order
//!   record   version u8 │ group u32 │ the record's fields in order   (the log keeps its kind)
//! ```
//!
//! Fixed integers are little-endian. Slots, rounds, counts and lengths are varints of seven bits a
//! byte, lowest first, in their shortest form; ids drawn at random are fixed. A value has exactly
//! one encoding, and what does not encode back to the same bytes is refused.
//!
//! Rules of a decoder: bytes come from the network or from a disk, so it never panics; it checks a
//! count or a length against what is left before it allocates; payloads are slices of the input, so
//! that a command's bytes are the same ones from the socket to the log and to the state machine.
//!
//! The group names one of many Paxos groups in a process. Only group 0 exists so far.

mod fields;
mod message;
mod record;
mod value;
mod wire;

use bytes::{Bytes, BytesMut};
use synod_paxos::{Message, Record};

pub use record::RECORD_KINDS;
pub use wire::{Codec, DecodeError, Parts, Reader, Sink};

/// The version that starts each frame and each record.
pub const VERSION: u8 = 1;

/// The only Paxos group there is.
pub const GROUP: u32 = 0;

/// The message as a frame, for all its recipients.
#[must_use]
pub fn encode_message(message: &Message) -> Bytes {
    let mut frame = BytesMut::with_capacity(message::size_hint(message));
    frame.put(&[VERSION, message::tag(message)]);
    frame.put(&GROUP.to_le_bytes());
    message::encode_fields(message, &mut frame);
    frame.freeze()
}

/// About how many bytes the message takes, in memory and as a frame.
#[must_use]
pub fn message_size(message: &Message) -> usize {
    message::size_hint(message)
}

/// The message in a frame.
///
/// # Errors
/// If the bytes are no frame that this version writes.
pub fn decode_message(frame: Bytes) -> Result<Message, DecodeError> {
    let mut input = Reader::new(frame);
    expect_version(&mut input)?;
    let tag = input.u8()?;
    expect_group(&mut input)?;
    let message = message::decode_fields(tag, &mut input)?;
    input.finish()?;
    Ok(message)
}

/// Writes the record into `parts`, emptied before, and returns the kind to log it under.
pub fn encode_record(record: &Record, parts: &mut Parts) -> u8 {
    parts.clear();
    parts.put(&[VERSION]);
    parts.put(&GROUP.to_le_bytes());
    record::encode_fields(record, parts)
}

/// The record that was logged under a kind.
///
/// # Errors
/// If the bytes are no record that this version writes.
pub fn decode_record(kind: u8, payload: Bytes) -> Result<Record, DecodeError> {
    let mut input = Reader::new(payload);
    expect_version(&mut input)?;
    expect_group(&mut input)?;
    let record = record::decode_fields(kind, &mut input)?;
    input.finish()?;
    Ok(record)
}

fn expect_version(input: &mut Reader) -> Result<(), DecodeError> {
    match input.u8()? {
        VERSION => Ok(()),
        found => Err(DecodeError::Version { found }),
    }
}

fn expect_group(input: &mut Reader) -> Result<(), DecodeError> {
    match u32::from_le_bytes(input.array()?) {
        GROUP => Ok(()),
        found => Err(DecodeError::Group { found }),
    }
}

#[cfg(test)]
mod tests;
