//! Clients that others wrote, run against a real etcd and against Synod, and what differs.
//!
//! Each suite is a function from two running clusters to [`report::Test`]s. What it needs is
//! fetched from the registries by [`machine`]; nothing of a client's code stands in this
//! repository. A test that fails with both is broken upstream and says nothing about Synod; a
//! difference is an error unless `known-differences.txt` says why it is there.

pub mod control;
pub mod crate_tests;
pub mod errors;
pub mod etcdctl;
pub mod lines;
pub mod machine;
pub mod npm;
pub mod pair;
pub mod patroni;
pub mod play;
pub mod provoke;
pub mod python;
pub mod report;
pub mod scenario;
pub mod shown;
