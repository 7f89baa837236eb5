//! Commands and their bytes: what is encoded is decoded, and no bytes make the decoder panic.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use synod_kv::{COMMAND_BYTES_MAX, Caller, Command, DecodeError, Key, Put, Txn, TxnError};

use crate::commands;

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        caller in commands::caller(),
        command in commands::any_command(),
    ) {
        let expected = Ok((caller.clone(), command.clone()));
        prop_assert_eq!(&Command::decode(&command.encode_for(&caller)), &expected);
        prop_assert_eq!(&Command::decode(&command.encode_within(&caller, 7)), &expected);
    }

    #[test]
    fn every_beginning_is_truncated(
        caller in commands::caller(),
        command in commands::any_command(),
    ) {
        let bytes = command.encode_within(&caller, 1 << 40);
        for length in 0..bytes.len() {
            let decoded = Command::decode(&bytes.slice(..length));
            prop_assert_eq!(decoded, Err(DecodeError::Truncated), "{} bytes", length);
        }
        let longer = Bytes::from([bytes.as_ref(), &[0]].concat());
        prop_assert_eq!(Command::decode(&longer), Err(DecodeError::Trailing(1)));
    }

    #[test]
    fn damage_never_panics(
        caller in commands::caller(),
        command in commands::any_command(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = command.encode_for(&caller).to_vec();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        // What still is a command has the same bytes when it is encoded again.
        if let Ok((caller, command)) = Command::decode(&Bytes::from(bytes)) {
            let bytes = command.encode_for(&caller);
            prop_assert_eq!(Command::decode(&bytes), Ok((caller, command)));
        }
    }

    #[test]
    fn noise_never_panics(tag in 0..0x48u8, noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from([&[1, tag], noise.as_slice()].concat());
        if let Ok((caller, command)) = Command::decode(&bytes) {
            let bytes = command.encode_for(&caller);
            prop_assert_eq!(Command::decode(&bytes), Ok((caller, command)));
        }
    }
}

#[test]
fn values_are_slices_of_the_command() {
    let key = Key::new(Bytes::from_static(b"key")).unwrap();
    let bytes = Command::Put(Put::new(key, Bytes::from_static(b"value"))).encode();
    let Ok((Caller::Anonymous, Command::Put(put))) = Command::decode(&bytes) else {
        panic!("a put")
    };
    assert!(bytes.as_ptr_range().contains(&put.key.as_bytes().as_ptr()));
}

#[test]
fn golden_put() {
    let key = Key::new(Bytes::from_static(b"k")).unwrap();
    let bytes = Command::Put(Put::new(key, Bytes::from_static(b"vw"))).encode();
    let expected = [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'k', 2, 0, 0, 0, b'v', b'w'];
    assert_eq!(bytes.as_ref(), expected);
}

#[test]
fn depth_is_bounded() {
    let mut bytes = BytesMut::from([1].as_slice());
    for _ in 0..100_000 {
        bytes.put_slice(&[3, 0, 0, 0, 0, 1, 0, 0, 0]);
    }
    let too_deep = TxnError::TooDeep { depth: Txn::DEPTH_MAX + 1 };
    assert_eq!(Command::decode(&bytes.freeze()), Err(DecodeError::Txn(too_deep)));
}

#[test]
fn counts_are_not_believed() {
    let bytes = Bytes::from_static(&[1, 3, 255, 255, 255, 255]);
    assert_eq!(Command::decode(&bytes), Err(DecodeError::Truncated));
    let length = Bytes::from_static(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 1]);
    assert_eq!(Command::decode(&length), Err(DecodeError::Truncated));
    let long = Bytes::from(vec![1; COMMAND_BYTES_MAX + 1]);
    assert_eq!(Command::decode(&long), Err(DecodeError::TooLong(COMMAND_BYTES_MAX + 1)));
    assert_eq!(Command::decode(&Bytes::from_static(&[9])), Err(DecodeError::Version(9)));
}
