//! Carries out what concerns alarms, and refuses what the alarms that stand forbid.

use super::Execution;
use crate::alarm::{
    ALARMS_MAX, Alarm, AlarmAction, AlarmChange, AlarmKind, AlarmReasons, AlarmResponse,
    SpaceReport,
};
use crate::command::Command;
use crate::engine::Engine;
use crate::response::ApplyError;

impl<E: Engine> Execution<'_, E> {
    /// What may be done while alarms stand. Deletes, compactions and the ends of leases free
    /// space, so a lack of it does not keep them; alarms can always be changed.
    pub(super) fn check_alarms(&self, command: &Command) -> Result<(), ApplyError> {
        if self.state.is_alarmed(AlarmKind::Corrupt) && changes_keys(command) {
            return Err(ApplyError::Corrupt);
        }
        if self.state.is_alarmed(AlarmKind::NoSpace) && command.space() > 0 {
            return Err(ApplyError::NoSpace);
        }
        Ok(())
    }

    pub(super) fn change_alarm(
        &mut self,
        change: AlarmChange,
    ) -> Result<AlarmResponse, ApplyError> {
        let AlarmChange { action, kind, member } = change;
        let before = Alarm { kind, member, reasons: self.state.alarms.reasons(kind, member) };
        let alarms = match action {
            AlarmAction::Activate => {
                let reasons = AlarmReasons { by_hand: true, ..before.reasons };
                let raised = Alarm { reasons, ..before };
                self.set_alarm(&raised)?;
                vec![raised]
            }
            AlarmAction::Deactivate if before.reasons.is_empty() => Vec::new(),
            AlarmAction::Deactivate => {
                self.set_alarm(&Alarm { reasons: AlarmReasons::default(), ..before })?;
                vec![before]
            }
        };
        Ok(AlarmResponse { revision: self.state.current(), alarms })
    }

    pub(super) fn report_space(
        &mut self,
        report: SpaceReport,
    ) -> Result<AlarmResponse, ApplyError> {
        let (kind, member) = (AlarmKind::NoSpace, report.member);
        let before = self.state.alarms.reasons(kind, member);
        let reasons = report.reasons(before, self.state.used_bytes());
        let alarm = Alarm { kind, member, reasons };
        self.set_alarm(&alarm)?;
        let alarms = if reasons.is_empty() { Vec::new() } else { vec![alarm] };
        Ok(AlarmResponse { revision: self.state.current(), alarms })
    }

    fn set_alarm(&mut self, alarm: &Alarm) -> Result<(), ApplyError> {
        let is_new = self.state.alarms.reasons(alarm.kind, alarm.member).is_empty();
        if is_new && !alarm.reasons.is_empty() && self.state.alarms.len() >= ALARMS_MAX {
            return Err(ApplyError::TooManyAlarms);
        }
        self.state.set_alarm(alarm);
        Ok(())
    }
}

/// Whether a command may change keys, leases or what can be read of them.
const fn changes_keys(command: &Command) -> bool {
    match command {
        Command::Put(_)
        | Command::DeleteRange(_)
        | Command::Txn(_)
        | Command::Compact(_)
        | Command::LeaseGrant(_)
        | Command::LeaseRevoke { .. }
        | Command::LeaseExpire(_) => true,
        Command::LeaseKeepAlive { .. }
        | Command::Auth(_)
        | Command::Alarm(_)
        | Command::SpaceReport(_) => false,
    }
}
