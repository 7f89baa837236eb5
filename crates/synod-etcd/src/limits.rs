//! What one request may cost: etcd's limits, with etcd's defaults.

use prost::Message;

use crate::error::EtcdError;
use crate::refusal::Refusal;

/// The bounds of a single request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The most bytes of an encoded request.
    pub request_bytes_max: usize,
    /// The most operations of a transaction, as etcd counts them: the longest of its three lists,
    /// and those of the transactions within.
    pub txn_ops_max: usize,
}

impl Limits {
    /// What a message of the largest request may add to it before the connection itself refuses
    /// to read on.
    pub const MESSAGE_OVERHEAD_BYTES: usize = 512 * 1024;

    /// Refuses a request that is too large.
    ///
    /// # Errors
    /// If its encoding is longer than `request_bytes_max`.
    pub fn check_size(&self, request: &impl Message) -> Result<(), Refusal> {
        let bytes = request.encoded_len();
        if bytes <= self.request_bytes_max {
            return Ok(());
        }
        Err(Refusal::new(EtcdError::RequestTooLarge).with_detail(format!(
            "the request has {bytes} bytes, the limit is {}: split it or store less in one value",
            self.request_bytes_max
        )))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_bytes_max: 1024 * 1024 + 512 * 1024, txn_ops_max: 128 }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::proto::etcdserverpb::PutRequest;

    #[test]
    fn a_request_may_be_exactly_as_large_as_the_limit() {
        let limits = Limits { request_bytes_max: 100, ..Limits::default() };
        let of_bytes =
            |value| PutRequest { value: Bytes::from(vec![0; value]), ..PutRequest::default() };
        assert_eq!(of_bytes(98).encoded_len(), 100);
        limits.check_size(&of_bytes(98)).unwrap();
        let refusal = limits.check_size(&of_bytes(99)).unwrap_err();
        assert_eq!(refusal.etcd(), Some(EtcdError::RequestTooLarge));
        assert_eq!(
            refusal.detail(),
            Some(
                "the request has 101 bytes, the limit is 100: split it or store less in one value"
            )
        );
    }
}
