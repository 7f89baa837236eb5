//! How long commands take to apply, by what they do and whether they did it.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use synod_kv::Operation;

use super::histogram::{Apply, Histogram};

/// One histogram for each operation and outcome that there was, as etcd has it: what never happened
/// has no lines. One thread applies, so it finds the lock free unless the page is being written.
#[derive(Debug, Default)]
pub(crate) struct Applies(Mutex<BTreeMap<(Operation, bool), Histogram<Apply>>>);

impl Applies {
    /// A command was applied.
    pub(crate) fn observe(&self, operation: Operation, success: bool, took: Duration) {
        self.0.lock().entry((operation, success)).or_default().observe(took);
    }

    /// Shows all there are: etcd's name of the operation, the outcome and the histogram.
    pub(crate) fn each(&self, mut show: impl FnMut(&'static str, bool, &Histogram<Apply>)) {
        for (&(operation, success), histogram) in self.0.lock().iter() {
            show(name(operation), success, histogram);
        }
    }
}

/// As etcd names it. It has no command for renewals, and revokes leases that are due one by one.
const fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::Put => "Put",
        Operation::DeleteRange => "DeleteRange",
        Operation::Txn => "Txn",
        Operation::Compact => "Compaction",
        Operation::LeaseGrant => "LeaseGrant",
        Operation::LeaseRevoke => "LeaseRevoke",
        Operation::LeaseKeepAlive => "LeaseKeepAlive",
        Operation::LeaseExpire => "LeaseExpire",
        Operation::Alarm => "Alarm",
        Operation::SpaceReport => "SpaceReport",
        Operation::AuthEnable => "AuthEnable",
        Operation::AuthDisable => "AuthDisable",
        Operation::UserAdd => "AuthUserAdd",
        Operation::UserDelete => "AuthUserDelete",
        Operation::UserChangePassword => "AuthUserChangePassword",
        Operation::UserGrantRole => "AuthUserGrantRole",
        Operation::UserRevokeRole => "AuthUserRevokeRole",
        Operation::RoleAdd => "AuthRoleAdd",
        Operation::RoleDelete => "AuthRoleDelete",
        Operation::RoleGrantPermission => "AuthRoleGrantPermission",
        Operation::RoleRevokePermission => "AuthRoleRevokePermission",
    }
}
