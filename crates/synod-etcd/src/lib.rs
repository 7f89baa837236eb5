//! synod-etcd.
