//! The codec of values: what slots choose, the same bytes in messages and in the log.

use std::sync::Arc;

use synod_paxos::{AcceptedValue, Ballot, Batch, Command, CommandId, Slot, Value};

use super::fields::{codec_of_fields, decode_list, encode_list, expect_rising};
use super::wire::{Codec, DecodeError, Reader, Sink};

codec_of_fields! {
    Command { id, payload }
    Batch { ballot, stamp, commands }
    AcceptedValue { ballot, value }
}

impl Codec for CommandId {
    fn encode<S: Sink>(&self, out: &mut S) {
        let Self { replica, life, number } = self;
        replica.encode(out);
        out.put(&life.to_le_bytes());
        number.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            replica: Codec::decode(input)?,
            life: u64::from_le_bytes(input.array()?),
            number: Codec::decode(input)?,
        })
    }
}

const NOOP: u8 = 0;
const BARRIER: u8 = 1;
const BATCH: u8 = 2;

impl Codec for Value {
    fn encode<S: Sink>(&self, out: &mut S) {
        match self {
            Self::Noop => out.put(&[NOOP]),
            Self::Barrier(ballot) => {
                out.put(&[BARRIER]);
                ballot.encode(out);
            }
            Self::Batch(batch) => {
                out.put(&[BATCH]);
                batch.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        match input.u8()? {
            NOOP => Ok(Self::Noop),
            BARRIER => Ballot::decode(input).map(Self::Barrier),
            BATCH => Batch::decode(input).map(Self::Batch),
            found => Err(DecodeError::Tag { of: "value", found }),
        }
    }
}

/// The commands of a batch: at least one.
impl Codec for Arc<[Command]> {
    fn encode<S: Sink>(&self, out: &mut S) {
        encode_list(self, out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let commands: Self = decode_list(input, "commands", COMMAND_BYTES_MIN)?;
        if commands.is_empty() { Err(DecodeError::EmptyBatch) } else { Ok(commands) }
    }
}

/// Forwarded commands.
impl Codec for Vec<Command> {
    fn encode<S: Sink>(&self, out: &mut S) {
        encode_list(self, out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        decode_list(input, "commands", COMMAND_BYTES_MIN)
    }
}

/// Chosen values, one a slot.
impl Codec for Vec<Value> {
    fn encode<S: Sink>(&self, out: &mut S) {
        encode_list(self, out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        decode_list(input, "values", 1)
    }
}

impl Codec for (Slot, AcceptedValue) {
    fn encode<S: Sink>(&self, out: &mut S) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok((Codec::decode(input)?, Codec::decode(input)?))
    }
}

/// Accepted values by rising slot, each slot at most once.
impl Codec for Vec<(Slot, AcceptedValue)> {
    fn encode<S: Sink>(&self, out: &mut S) {
        encode_list(self, out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let entries: Self = decode_list(input, "accepted values", ENTRY_BYTES_MIN)?;
        expect_rising(&entries, "slots", |(slot, _)| *slot)?;
        Ok(entries)
    }
}

/// Replica and life, a number, an empty payload.
const COMMAND_BYTES_MIN: usize = 8 + 8 + 1 + 1;

/// A slot, a ballot, a no-op.
const ENTRY_BYTES_MIN: usize = 1 + 9 + 1;
