//! The model's alarms and space, found by looking through all that ever happened.

use bytes::Bytes;
use synod_kv::{
    Alarm, AlarmAction, AlarmChange, AlarmKind, AlarmReasons, AlarmResponse, ApplyError, Command,
    KeyValue, LEASE_SPACE, Op, SpaceReport, Txn, VERSION_SPACE,
};

use crate::model::{Model, rev};

impl Model {
    /// The space in use: of every version that reads or history at the compact revision and later
    /// may tell, and of leases.
    pub(crate) fn used(&self) -> u64 {
        let versions = (0..self.changes.len()).filter(|at| self.is_kept(*at));
        let space = |at: usize| {
            let (_, key, kv) = &self.changes[at];
            let value = kv.as_ref().map_or(0, |kv| kv.value.len());
            VERSION_SPACE + u64::try_from(key.len() + value).unwrap()
        };
        let leases = LEASE_SPACE * u64::try_from(self.leases.len()).unwrap();
        versions.map(space).sum::<u64>() + leases
    }

    /// Whether a version may still be told.
    fn is_kept(&self, at: usize) -> bool {
        let (revision, key, kv) = &self.changes[at];
        let next = self.changes[at + 1..].iter().find(|(_, k, _)| k == key);
        let dies = |kv: &Option<KeyValue>, next: Option<&(i64, Bytes, _)>| match (kv, next) {
            (None, _) => Some(revision + 1),
            (Some(_), None) => None,
            (Some(_), Some((by, ..))) if by == revision => Some(revision + 1),
            (Some(_), Some((by, ..))) => Some(*by),
        };
        dies(kv, next).is_none_or(|dies| dies > self.compact)
    }

    /// What the alarms that stand say to a command.
    pub(crate) fn forbidden(&self, command: &Command) -> Option<ApplyError> {
        let stands = |kind| self.alarms.keys().any(|(k, _)| *k == kind);
        let goes_on = matches!(
            command,
            Command::Alarm(_) | Command::SpaceReport(_) | Command::LeaseKeepAlive { .. }
        );
        if stands(AlarmKind::Corrupt) && !goes_on {
            return Some(ApplyError::Corrupt);
        }
        let stores = match command {
            Command::Put(_) | Command::LeaseGrant(_) => true,
            Command::Txn(txn) => has_put(txn),
            _ => false,
        };
        (stands(AlarmKind::NoSpace) && stores).then_some(ApplyError::NoSpace)
    }

    pub(crate) fn change_alarm(&mut self, change: AlarmChange) -> AlarmResponse {
        let AlarmChange { action, kind, member } = change;
        let alarms = match action {
            AlarmAction::Activate => {
                let reasons = self.alarms.entry((kind, member)).or_default();
                reasons.by_hand = true;
                vec![Alarm { kind, member, reasons: *reasons }]
            }
            AlarmAction::Deactivate => {
                let cleared = self.alarms.remove(&(kind, member));
                cleared.into_iter().map(|reasons| Alarm { kind, member, reasons }).collect()
            }
        };
        AlarmResponse { revision: rev(self.revision), alarms }
    }

    pub(crate) fn report_space(&mut self, report: SpaceReport) -> AlarmResponse {
        let SpaceReport { member, quota, wanted, disk_low } = report;
        let (kind, used) = (AlarmKind::NoSpace, self.used());
        let mut reasons = self.alarms.remove(&(kind, member)).unwrap_or_default();
        let is_full = used + wanted >= quota;
        let stays = reasons.quota.is_some() && used >= quota / 10 * 9;
        reasons.quota = (is_full || stays).then_some(quota);
        reasons.disk = disk_low;
        let alarm = Alarm { kind, member, reasons };
        let alarms = if reasons == AlarmReasons::default() {
            Vec::new()
        } else {
            self.alarms.insert((kind, member), reasons);
            vec![alarm]
        };
        AlarmResponse { revision: rev(self.revision), alarms }
    }
}

fn has_put(txn: &Txn) -> bool {
    txn.success().iter().chain(txn.failure()).any(|op| match op {
        Op::Put(_) => true,
        Op::Txn(nested) => has_put(nested),
        Op::Range(_) | Op::DeleteRange(_) => false,
    })
}
