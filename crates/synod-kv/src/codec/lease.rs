//! The bytes of the commands about leases.

use bytes::{BufMut, BytesMut};

use super::{
    DecodeError, Input, TAG_LEASE_EXPIRE, TAG_LEASE_GRANT, TAG_LEASE_KEEP_ALIVE, TAG_LEASE_REVOKE,
    length,
};
use crate::lease::{LEASE_IDS_MAX, LeaseExpire, LeaseGrant, LeaseIds, TooManyLeases};

pub(super) fn encode_grant(out: &mut BytesMut, grant: LeaseGrant) {
    out.put_u8(TAG_LEASE_GRANT);
    out.put_i64_le(grant.id);
    out.put_i64_le(grant.ttl);
    out.put_u32_le(grant.ttl_min);
}

pub(super) fn encode_revoke(out: &mut BytesMut, id: i64) {
    out.put_u8(TAG_LEASE_REVOKE);
    out.put_i64_le(id);
}

pub(super) fn encode_keep_alive(out: &mut BytesMut, ids: &LeaseIds) {
    out.put_u8(TAG_LEASE_KEEP_ALIVE);
    encode_ids(out, ids);
}

pub(super) fn encode_expire(out: &mut BytesMut, expire: &LeaseExpire) {
    out.put_u8(TAG_LEASE_EXPIRE);
    out.put_u64_le(expire.by.0);
    out.put_u64_le(expire.by.1);
    encode_ids(out, &expire.ids);
}

fn encode_ids(out: &mut BytesMut, ids: &LeaseIds) {
    out.put_u32_le(length(ids.as_slice().len()));
    for id in ids.as_slice() {
        out.put_i64_le(*id);
    }
}

impl Input<'_> {
    pub(super) fn lease_grant(&mut self) -> Result<LeaseGrant, DecodeError> {
        Ok(LeaseGrant { id: self.i64()?, ttl: self.i64()?, ttl_min: self.u32()? })
    }

    pub(super) fn lease_expire(&mut self) -> Result<LeaseExpire, DecodeError> {
        let by = (self.u64()?, self.u64()?);
        Ok(LeaseExpire { ids: self.lease_ids()?, by })
    }

    pub(super) fn lease_ids(&mut self) -> Result<LeaseIds, DecodeError> {
        let count = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if count > LEASE_IDS_MAX {
            return Err(TooManyLeases { count }.into());
        }
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            ids.push(self.i64()?);
        }
        Ok(LeaseIds::new(ids)?)
    }
}
