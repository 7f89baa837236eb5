//! Files and sockets that the system lets this process open.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Files and connections beside those of clients: the log, the store, peers.
const OWN: u64 = 512;

/// Asks the system for as many as it grants, as Go's programs do, and so etcd.
pub(crate) fn raise() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        debug!(%error, "the limit of open files stays as it is");
    }
}

/// How many there may be; none if there is no bound.
pub(crate) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// How many clients may connect, out of as many as are wanted: the log and the store must always
/// find a descriptor.
pub(crate) fn connections_max(wanted: usize) -> usize {
    let limit = limit();
    let possible = limit.map_or(usize::MAX, left_for_clients);
    if possible < wanted {
        warn!(
            limit,
            max_client_connections = wanted,
            possible,
            "the system allows this process fewer open files than --max-client-connections: \
             raise it (ulimit -n), or clients are refused before"
        );
    }
    wanted.min(possible)
}

fn left_for_clients(limit: u64) -> usize {
    usize::try_from(limit - OWN.min(limit / 2)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_kept_for_the_log_and_the_store() {
        for (limit, left) in [(1024, 512), (100, 50), (0, 0), (1 << 20, (1 << 20) - 512)] {
            assert_eq!(left_for_clients(limit), left);
        }
    }
}
