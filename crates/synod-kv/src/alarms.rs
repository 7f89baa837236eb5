//! The alarms that are raised, and their rows in the engine.
//!
//! ```text
//! key    'b' kind:u8 member:u64, big-endian
//! value  version:u8=1  flags:u8 quota:u64
//! ```

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

use crate::alarm::{Alarm, AlarmKind, AlarmReasons};
use crate::row::{FORMAT, RowError};

/// Below the row of every alarm.
pub(crate) const ALARMS_START: &[u8] = b"b";
/// Above them.
pub(crate) const ALARMS_END: &[u8] = b"c";

const FLAG_BY_HAND: u8 = 1;
const FLAG_QUOTA: u8 = 2;
const FLAG_DISK: u8 = 4;

/// All alarms that stand, by kind and member.
///
/// Invariant: each has a reason.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    raised: BTreeMap<(AlarmKind, u64), AlarmReasons>,
}

impl Alarms {
    /// How many stand.
    pub(crate) fn len(&self) -> usize {
        self.raised.len()
    }

    /// Whether one of this kind stands, of whichever member.
    pub(crate) fn has(&self, kind: AlarmKind) -> bool {
        self.raised.range((kind, 0)..=(kind, u64::MAX)).next().is_some()
    }

    /// The reasons of an alarm; none if it does not stand.
    pub(crate) fn reasons(&self, kind: AlarmKind, member: u64) -> AlarmReasons {
        self.raised.get(&(kind, member)).copied().unwrap_or_default()
    }

    /// Sets the reasons of an alarm: without any, it does not stand any more.
    pub(crate) fn set(&mut self, alarm: &Alarm) {
        let key = (alarm.kind, alarm.member);
        if alarm.reasons.is_empty() {
            self.raised.remove(&key);
        } else {
            self.raised.insert(key, alarm.reasons);
        }
    }

    /// All that stand, by kind and member.
    pub(crate) fn all(&self) -> Vec<Alarm> {
        let alarm = |(&(kind, member), &reasons)| Alarm { kind, member, reasons };
        self.raised.iter().map(alarm).collect()
    }
}

/// The number of a kind, in rows, in commands and in etcd's API.
pub(crate) const fn kind_code(kind: AlarmKind) -> u8 {
    match kind {
        AlarmKind::NoSpace => 1,
        AlarmKind::Corrupt => 2,
    }
}

/// The kind with this number.
pub(crate) const fn kind_of(code: u8) -> Option<AlarmKind> {
    match code {
        1 => Some(AlarmKind::NoSpace),
        2 => Some(AlarmKind::Corrupt),
        _ => None,
    }
}

/// The reasons as flags, and the quota.
pub(crate) fn reasons_code(reasons: AlarmReasons) -> (u8, u64) {
    let flags = [
        (FLAG_BY_HAND, reasons.by_hand),
        (FLAG_QUOTA, reasons.quota.is_some()),
        (FLAG_DISK, reasons.disk),
    ];
    let flags = flags.iter().filter(|(_, on)| *on).fold(0, |all, (flag, _)| all | flag);
    (flags, reasons.quota.unwrap_or(0))
}

/// The engine's key for an alarm.
pub(crate) fn alarm_key(kind: AlarmKind, member: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(10);
    key.put_slice(ALARMS_START);
    key.put_u8(kind_code(kind));
    key.put_u64(member);
    key.freeze()
}

/// The engine's value for an alarm; none if it does not stand.
pub(crate) fn encode_alarm(reasons: AlarmReasons) -> Option<Bytes> {
    let (flags, quota) = reasons_code(reasons);
    if flags == 0 {
        return None;
    }
    let mut out = BytesMut::with_capacity(10);
    out.put_u8(FORMAT);
    out.put_u8(flags);
    out.put_u64_le(quota);
    Some(out.freeze())
}

/// The alarm of a row.
pub(crate) fn decode_alarm(key: &[u8], bytes: &[u8]) -> Result<Alarm, RowError> {
    let (Some((b'b', name)), Some((&format, rest))) = (key.split_first(), bytes.split_first())
    else {
        return Err(RowError::Damaged);
    };
    if format != FORMAT {
        return Err(RowError::Format(format));
    }
    let (&code, member) = name.split_first().ok_or(RowError::Damaged)?;
    let (&flags, quota) = rest.split_first().ok_or(RowError::Damaged)?;
    let member = u64::from_be_bytes(member.try_into().map_err(|_| RowError::Damaged)?);
    let quota = u64::from_le_bytes(quota.try_into().map_err(|_| RowError::Damaged)?);
    let kind = kind_of(code).ok_or(RowError::Damaged)?;
    if flags == 0 || flags & !(FLAG_BY_HAND | FLAG_QUOTA | FLAG_DISK) != 0 {
        return Err(RowError::Damaged);
    }
    let reasons = AlarmReasons {
        by_hand: flags & FLAG_BY_HAND != 0,
        quota: (flags & FLAG_QUOTA != 0).then_some(quota),
        disk: flags & FLAG_DISK != 0,
    };
    Ok(Alarm { kind, member, reasons })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_damage_is_noticed() {
        let reasons = AlarmReasons { by_hand: false, quota: Some(7), disk: true };
        let alarm = Alarm { kind: AlarmKind::Corrupt, member: u64::MAX, reasons };
        let key = alarm_key(alarm.kind, alarm.member);
        let value = encode_alarm(reasons).unwrap();
        assert_eq!(decode_alarm(&key, &value), Ok(alarm));
        for cut in 0..value.len() {
            assert_eq!(decode_alarm(&key, &value[..cut]), Err(RowError::Damaged), "{cut}");
        }
        for cut in 0..key.len() {
            assert_eq!(decode_alarm(&key[..cut], &value), Err(RowError::Damaged), "{cut}");
        }
        assert_eq!(decode_alarm(&key, b"\x02"), Err(RowError::Format(2)));
        assert_eq!(decode_alarm(&key, b"\x01\x08\0\0\0\0\0\0\0\0"), Err(RowError::Damaged));
        assert_eq!(encode_alarm(AlarmReasons::default()), None);
    }
}
