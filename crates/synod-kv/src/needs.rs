//! What each operation needs: one match without a default, so that a new command does not compile
//! until it says so.

use crate::auth::AuthCommand;
use crate::caller::Need;
use crate::command::{Assign, Command, DeleteRange, Put, Range};
use crate::key::KeyRange;
use crate::txn::{Op, Txn};

impl Command {
    /// What the caller needs to have it carried out.
    #[must_use]
    pub fn needs(&self) -> Vec<Need> {
        let mut needs = Vec::new();
        match self {
            Self::Put(put) => put_needs(put, &mut needs),
            Self::DeleteRange(delete) => delete_needs(delete, &mut needs),
            Self::Txn(txn) => txn_needs(txn, &mut needs),
            Self::Compact(_) => needs.push(Need::Root),
            Self::LeaseGrant(_) => needs.push(Need::User),
            Self::LeaseRevoke { id } => needs.extend([Need::User, Need::WriteLease(*id)]),
            Self::LeaseKeepAlive { ids } => {
                needs.push(Need::User);
                needs.extend(ids.as_slice().iter().map(|id| Need::WriteLease(*id)));
            }
            Self::LeaseExpire(_) | Self::SpaceReport(_) => needs.push(Need::Internal),
            Self::Alarm(_) => needs.push(Need::Root),
            Self::Auth(command) => needs.push(auth_need(command)),
        }
        needs
    }
}

impl Range {
    /// What the caller needs to read it.
    #[must_use]
    pub fn needs(&self) -> Vec<Need> {
        vec![Need::Read(self.keys.clone())]
    }
}

impl Txn {
    /// What the caller needs for its comparisons and for both branches, whichever is taken.
    #[must_use]
    pub fn needs(&self) -> Vec<Need> {
        let mut needs = Vec::new();
        txn_needs(self, &mut needs);
        needs
    }
}

fn put_needs(put: &Put, needs: &mut Vec<Need>) {
    let Put { key, value: _, lease, prev_kv } = put;
    let keys = KeyRange::Single(key.clone());
    if *prev_kv {
        needs.push(Need::Read(keys.clone()));
    }
    needs.push(Need::Write(keys));
    match lease {
        Assign::Set(0) | Assign::Keep => {}
        Assign::Set(lease) => needs.push(Need::WriteLease(*lease)),
    }
}

fn delete_needs(delete: &DeleteRange, needs: &mut Vec<Need>) {
    let DeleteRange { keys, prev_kv } = delete;
    if *prev_kv {
        needs.push(Need::Read(keys.clone()));
    }
    needs.push(Need::Write(keys.clone()));
}

fn txn_needs(txn: &Txn, needs: &mut Vec<Need>) {
    // An empty transaction reveals the revision, as every answer does: to users only.
    needs.push(Need::User);
    needs.extend(txn.compares().iter().map(|compare| Need::Read(compare.keys.clone())));
    for op in txn.success().iter().chain(txn.failure()) {
        match op {
            Op::Range(range) => needs.push(Need::Read(range.keys.clone())),
            Op::Put(put) => put_needs(put, needs),
            Op::DeleteRange(delete) => delete_needs(delete, needs),
            Op::Txn(nested) => txn_needs(nested, needs),
        }
    }
}

fn auth_need(command: &AuthCommand) -> Need {
    match command {
        AuthCommand::Enable { .. }
        | AuthCommand::Disable
        | AuthCommand::UserAdd { .. }
        | AuthCommand::UserDelete { .. }
        | AuthCommand::UserChangePassword { .. }
        | AuthCommand::UserGrantRole { .. }
        | AuthCommand::UserRevokeRole { .. }
        | AuthCommand::RoleAdd { .. }
        | AuthCommand::RoleDelete { .. }
        | AuthCommand::RoleGrantPermission { .. }
        | AuthCommand::RoleRevokePermission { .. } => Need::Root,
    }
}
