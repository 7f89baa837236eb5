//! Alarms, from etcd's messages and to them.

use synod_kv::{Alarm, AlarmAction, AlarmChange, AlarmKind};
use tonic::Code;

use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::alarm_request::AlarmAction as Action;
use crate::refusal::Refusal;

/// What a request about alarms asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AlarmRequest {
    /// The alarms that stand, of one kind or of all.
    Get(Option<AlarmKind>),
    /// To raise or clear one.
    Change(AlarmChange),
    /// To raise or clear an alarm of no kind: as in etcd, nothing happens.
    Nothing,
}

/// Understands a request about alarms.
///
/// # Errors
/// If it asks for something that etcd does not know.
pub fn request(request: &pb::AlarmRequest) -> Result<AlarmRequest, Refusal> {
    let unknown = |what: &str, code: i32| {
        Refusal::own(Code::InvalidArgument, format!("synod: {code} is no {what} of an alarm"))
    };
    let kind = match pb::AlarmType::try_from(request.alarm) {
        Ok(pb::AlarmType::None) => None,
        Ok(pb::AlarmType::Nospace) => Some(AlarmKind::NoSpace),
        Ok(pb::AlarmType::Corrupt) => Some(AlarmKind::Corrupt),
        Err(_) => return Err(unknown("type", request.alarm)),
    };
    let action = match Action::try_from(request.action) {
        Ok(Action::Get) => return Ok(AlarmRequest::Get(kind)),
        Ok(Action::Activate) => AlarmAction::Activate,
        Ok(Action::Deactivate) => AlarmAction::Deactivate,
        Err(_) => return Err(unknown("action", request.action)),
    };
    Ok(kind.map_or(AlarmRequest::Nothing, |kind| {
        AlarmRequest::Change(AlarmChange { action, kind, member: request.member_id })
    }))
}

/// An alarm as etcd tells it.
#[must_use]
pub fn message(alarm: &Alarm) -> pb::AlarmMember {
    let kind = match alarm.kind {
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    };
    pb::AlarmMember { member_id: alarm.member, alarm: kind.into() }
}

/// The name of a kind of alarm.
#[must_use]
pub const fn name(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    }
}

/// An alarm as it stands among the errors of a status: etcd's own text, with the space at its end.
#[must_use]
pub fn text(alarm: &Alarm) -> String {
    let kind = name(alarm.kind);
    match alarm.member {
        0 => format!("alarm:{kind} "),
        member => format!("memberID:{member} alarm:{kind} "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(action: Action, member_id: u64, alarm: pb::AlarmType) -> AlarmRequest {
        let action = action.into();
        request(&pb::AlarmRequest { action, member_id, alarm: alarm.into() }).unwrap()
    }

    #[test]
    fn requests_are_understood_as_in_etcd() {
        use pb::AlarmType::{Corrupt, None, Nospace};
        assert_eq!(asked(Action::Get, 7, None), AlarmRequest::Get(Option::None));
        let corrupt = AlarmRequest::Get(Some(AlarmKind::Corrupt));
        assert_eq!(asked(Action::Get, 7, Corrupt), corrupt);
        assert_eq!(asked(Action::Activate, 7, None), AlarmRequest::Nothing);
        let change =
            AlarmChange { action: AlarmAction::Deactivate, kind: AlarmKind::NoSpace, member: 7 };
        assert_eq!(asked(Action::Deactivate, 7, Nospace), AlarmRequest::Change(change));
        for odd in [
            pb::AlarmRequest { action: 9, ..Default::default() },
            pb::AlarmRequest { alarm: -1, ..Default::default() },
        ] {
            assert_eq!(request(&odd).unwrap_err().code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn an_alarm_is_told_in_etcds_words() {
        let alarm = |member| {
            let kind = AlarmKind::NoSpace;
            text(&Alarm { kind, member, reasons: synod_kv::AlarmReasons::default() })
        };
        assert_eq!(
            alarm(10_276_657_743_932_975_437),
            "memberID:10276657743932975437 alarm:NOSPACE "
        );
        assert_eq!(alarm(0), "alarm:NOSPACE ");
    }
}
