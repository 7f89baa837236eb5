//! The bytes of the commands about alarms.

use bytes::{BufMut, BytesMut};

use super::{DecodeError, Input, TAG_ALARM, TAG_SPACE_REPORT};
use crate::alarm::{AlarmAction, AlarmChange, SpaceReport};
use crate::alarms::{kind_code, kind_of};

pub(super) fn encode_change(out: &mut BytesMut, change: AlarmChange) {
    out.put_u8(TAG_ALARM);
    out.put_u8(match change.action {
        AlarmAction::Activate => 1,
        AlarmAction::Deactivate => 2,
    });
    out.put_u8(kind_code(change.kind));
    out.put_u64_le(change.member);
}

pub(super) fn encode_report(out: &mut BytesMut, report: SpaceReport) {
    out.put_u8(TAG_SPACE_REPORT);
    out.put_u64_le(report.member);
    out.put_u64_le(report.quota);
    out.put_u64_le(report.wanted);
    out.put_u8(u8::from(report.disk_low));
}

impl Input<'_> {
    pub(super) fn alarm_change(&mut self) -> Result<AlarmChange, DecodeError> {
        let action = match self.u8()? {
            1 => AlarmAction::Activate,
            2 => AlarmAction::Deactivate,
            code => return Err(DecodeError::Unknown { what: "change of an alarm", code }),
        };
        let code = self.u8()?;
        let kind = kind_of(code).ok_or(DecodeError::Unknown { what: "kind of alarm", code })?;
        Ok(AlarmChange { action, kind, member: self.u64()? })
    }

    pub(super) fn space_report(&mut self) -> Result<SpaceReport, DecodeError> {
        let (member, quota, wanted) = (self.u64()?, self.u64()?, self.u64()?);
        let disk_low = match self.u8()? {
            0 => false,
            1 => true,
            code => return Err(DecodeError::Unknown { what: "yes or no", code }),
        };
        Ok(SpaceReport { member, quota, wanted, disk_low })
    }
}
