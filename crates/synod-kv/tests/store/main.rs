//! The store from outside: against a model, against bytes, against answers taken from etcd.

mod codec;
mod commands;
mod concurrent;
mod etcd;
mod model;
mod oracle;
