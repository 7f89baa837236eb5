//! Space as clients and operators meet it: quota, alarms, compaction, and what looks after a
//! member; over real sockets, with etcd's generated client.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "space/cluster.rs"]
mod cluster;
#[path = "space/corruption.rs"]
mod corruption;
#[path = "space/maintenance.rs"]
mod maintenance;
mod members;
#[path = "space/quota.rs"]
mod quota;
