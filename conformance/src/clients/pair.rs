//! Two clusters side by side: a real etcd, and what is examined.

use std::path::{Path, PathBuf};

use crate::cluster::{Cluster, Program};

/// Which programs a run compares, and where it works.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The program to examine.
    pub synod: Program,
    /// The program to compare with.
    pub etcd: Program,
    /// The command-line client.
    pub etcdctl: PathBuf,
    /// Where folders of members and scratch files are made.
    pub folder: PathBuf,
}

/// A running cluster of each.
#[derive(Debug)]
pub struct Pair {
    /// The real etcd.
    pub etcd: Cluster,
    /// What is compared with it.
    pub synod: Cluster,
}

impl Programs {
    /// Starts three members of each, with `flags` beyond the usual ones.
    pub async fn start(&self, flags: &[&str]) -> anyhow::Result<Pair> {
        self.start_named(Cluster::NAME, flags).await
    }

    /// The same, with members called `name` and a number.
    pub async fn start_named(&self, name: &str, flags: &[&str]) -> anyhow::Result<Pair> {
        let (etcd, synod) = (self.etcd.clone().with(flags), self.synod.clone().with(flags));
        let (etcd, synod) = tokio::try_join!(
            Cluster::start_named(&etcd, &self.folder, name),
            Cluster::start_named(&synod, &self.folder, name)
        )?;
        Ok(Pair { etcd, synod })
    }
}

/// The folder of this crate, where what is not Rust lies.
#[must_use]
pub fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
