//! The codec of messages: one table of tags.

use synod_paxos::Message;
use synod_paxos::message::{
    Accept, Accepted, CatchUp, Chosen, Confirm, Confirmed, FetchPage, Forward, Heartbeat, Learned,
    Nack, Prepare, Promise, Read, ReadAt, SnapshotPage, Stranger, TakeOver,
};

use super::fields::codec_of_fields;
use super::wire::{Codec, DecodeError, Reader, Sink};

/// Tags are never reused; a message that goes away leaves a gap.
macro_rules! message_tags {
    ($($tag:literal $message:ident,)*) => {
        /// The tag of a message.
        pub(super) const fn tag(message: &Message) -> u8 {
            match message { $(Message::$message(_) => $tag,)* }
        }

        /// Writes what the message says.
        pub(super) fn encode_fields<S: Sink>(message: &Message, out: &mut S) {
            match message { $(Message::$message(message) => message.encode(out),)* }
        }

        /// Reads what a message with this tag says.
        pub(super) fn decode_fields(tag: u8, input: &mut Reader) -> Result<Message, DecodeError> {
            match tag {
                $($tag => $message::decode(input).map(Message::$message),)*
                found => Err(DecodeError::Tag { of: "message", found }),
            }
        }
    };
}

message_tags! {
    1 Heartbeat,
    2 Prepare,
    3 Promise,
    4 Accept,
    5 Accepted,
    6 Nack,
    7 Chosen,
    8 CatchUp,
    9 Learned,
    10 Forward,
    11 Read,
    12 ReadAt,
    13 Confirm,
    14 Confirmed,
    15 TakeOver,
    16 Stranger,
    17 FetchPage,
    18 SnapshotPage,
}

codec_of_fields! {
    Heartbeat { promised, leader, hears, chosen, stable, time }
    Prepare { ballot, from, succeeds }
    Promise { ballot, from, entries, prefix, next }
    Accept { ballot, slot, value, chosen }
    Accepted { ballot, slot }
    Nack { refused, promised }
    Chosen { ballot, chosen }
    CatchUp { from }
    Learned { from, values, chosen }
    Forward { ballot, sequence, commands }
    Read { attempt }
    ReadAt { attempt, chosen }
    Confirm { ballot, round }
    Confirmed { ballot, round }
    TakeOver { ballot }
    Stranger { known }
    FetchPage { snapshot, offset }
    SnapshotPage { snapshot, prefix, offset, bytes }
}

/// About how long the frame becomes: right or a little over for large messages, so that a frame
/// is allocated once.
pub(super) fn size_hint(message: &Message) -> usize {
    let content = match message {
        Message::Accept(accept) => accept.value.bytes(),
        Message::Learned(learned) => learned.values.iter().map(|value| value.bytes()).sum(),
        Message::Promise(promise) => {
            promise.entries.iter().map(|(_, accepted)| 32 + accepted.value.bytes()).sum()
        }
        Message::Forward(forward) => forward.commands.iter().map(|c| 32 + c.payload.len()).sum(),
        Message::SnapshotPage(page) => page.bytes.len(),
        Message::Heartbeat(heartbeat) => 16 * heartbeat.hears.len(),
        _ => 0,
    };
    128 + content
}
