//! The store from outside: against a model, against bytes, against answers taken from etcd.

#![expect(clippy::unwrap_used, reason = "tests: also in the helpers around them")]

mod answers;
mod arrive;
mod auth;
mod codec;
mod commands;
mod concurrent;
mod etcd;
mod hash;
mod lease;
mod model;
mod model_space;
mod oracle;
mod pages;
mod snapshot;
mod space;
