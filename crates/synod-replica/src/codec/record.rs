//! The codec of log records: one table of kinds.

use synod_paxos::{Ballot, Peer, Record, Slot, Value};

use super::wire::{Codec, DecodeError, Reader, Sink};

/// The kinds of records and their names, for tools that print a log. Kinds are never reused.
pub const RECORD_KINDS: [(u8, &str); 6] = [
    (MET, "met"),
    (PROMISED, "promised"),
    (ACCEPTED, "accepted"),
    (LEARNED, "learned"),
    (CHOSEN, "chosen"),
    (SKIPPED, "skipped"),
];

const MET: u8 = 1;
const PROMISED: u8 = 2;
const ACCEPTED: u8 = 3;
const LEARNED: u8 = 4;
const CHOSEN: u8 = 5;
const SKIPPED: u8 = 6;

/// Writes what the record says; returns its kind.
pub(super) fn encode_fields<S: Sink>(record: &Record, out: &mut S) -> u8 {
    match record {
        Record::Met(peer) => {
            peer.encode(out);
            MET
        }
        Record::Promised(ballot) => {
            ballot.encode(out);
            PROMISED
        }
        Record::Accepted { ballot, slot, value } => {
            ballot.encode(out);
            slot.encode(out);
            value.encode(out);
            ACCEPTED
        }
        Record::Learned { slot, value } => {
            slot.encode(out);
            value.encode(out);
            LEARNED
        }
        Record::Chosen(below) => {
            below.encode(out);
            CHOSEN
        }
        Record::Skipped(below) => {
            below.encode(out);
            SKIPPED
        }
    }
}

/// Reads what a record of this kind says.
pub(super) fn decode_fields(kind: u8, input: &mut Reader) -> Result<Record, DecodeError> {
    Ok(match kind {
        MET => Record::Met(Peer::decode(input)?),
        PROMISED => Record::Promised(Ballot::decode(input)?),
        ACCEPTED => {
            let (ballot, slot) = (Ballot::decode(input)?, Slot::decode(input)?);
            Record::Accepted { ballot, slot, value: Value::decode(input)? }
        }
        LEARNED => Record::Learned { slot: Slot::decode(input)?, value: Value::decode(input)? },
        CHOSEN => Record::Chosen(Slot::decode(input)?),
        SKIPPED => Record::Skipped(Slot::decode(input)?),
        found => return Err(DecodeError::Tag { of: "record kind", found }),
    })
}
