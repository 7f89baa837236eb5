//! The answer to calls of etcd's API that are not built yet.
//!
//! A clear "not implemented" instead of an empty answer: no client may take silence for data.

use tonic::Code;

use crate::refusal::Refusal;

/// Refuses a call by its name: a path such as `/etcdserverpb.Watch/Watch`, or a shorter name.
///
/// Servers answer with it whatever gRPC path they do not know.
#[must_use]
pub fn refuse(call: &str) -> Refusal {
    let call = call.trim_start_matches('/').trim_start_matches("etcdserverpb.");
    Refusal::own(Code::Unimplemented, format!("synod: {call} is not implemented in this version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_is_named() {
        let refusal = refuse("/etcdserverpb.Watch/Watch");
        assert_eq!(refusal.code(), Code::Unimplemented);
        assert_eq!(refusal.text(), "synod: Watch/Watch is not implemented in this version");
    }
}
