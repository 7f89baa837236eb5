//! Synod seen from outside: real processes, real sockets, real disks, clients that others wrote.
//!
//! Six commands use it:
//!
//! * `compare` runs one list of `etcdctl` commands against a real etcd and against Synod, and
//!   reports every difference ([`commands`], [`requests`], [`normal`]);
//! * `chaos` kills members under load and checks the recorded history ([`load`], [`history`],
//!   [`check`]), measures failover, sends bad input ([`bad_input`], [`floods`]), lets very
//!   many leases end ([`leases`]), and breaks snapshots off ([`snapshots`]);
//! * `clients` runs real clients and their own tests against both ([`clients`]);
//! * `bench` measures both side by side ([`measure`], [`watch_load`], [`space_load`]);
//! * `alerts` holds the alert rules to real members ([`alerts`]);
//! * `gateway` compares the JSON gateways ([`gateway`]).
//!
//! All of them start clusters through [`cluster`], whose processes end with the command, whatever
//! way it ends.
#![deny(missing_docs)]

pub mod alerts;
pub mod bad_input;
pub mod check;
pub mod clients;
pub mod cluster;
pub mod commands;
pub mod compare;
pub mod etcdctl;
pub mod failover;
pub mod floods;
pub mod gateway;
pub mod history;
pub mod http;
pub mod leases;
pub mod load;
pub mod measure;
pub mod migration;
pub mod normal;
pub mod ports;
pub mod process;
pub mod range_load;
pub mod requests;
pub mod snapshots;
pub mod space_load;
pub mod watch_load;
pub mod watches;
