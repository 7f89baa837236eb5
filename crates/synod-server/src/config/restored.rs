//! Members of a cluster that begins with a snapshot.

use super::{ConfigError, ServerConfig, Url, cluster};

/// A member that is to be restored, as etcd's flags name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RestoredMember {
    /// `--name`
    pub name: String,
    /// `--initial-cluster`
    pub initial_cluster: String,
    /// `--initial-cluster-token`
    pub initial_cluster_token: String,
    /// `--initial-advertise-peer-urls`
    pub initial_advertise_peer_urls: String,
}

impl RestoredMember {
    /// The member's id and the cluster's, which is made anew from a snapshot of this id.
    ///
    /// # Errors
    /// If the flags contradict each other.
    pub fn ids(&self, snapshot: u64) -> Result<(u64, u64), ConfigError> {
        const FLAG: &str = "initial-advertise-peer-urls";
        let advertised: Result<Vec<Url>, _> =
            self.initial_advertise_peer_urls.split(',').map(str::trim).map(Url::parse).collect();
        let advertised = advertised.map_err(|reason| ConfigError::Url { flag: FLAG, reason })?;
        let members = cluster::parse(&self.initial_cluster, &self.initial_cluster_token)?;
        let me = cluster::find(&members, &self.name, &advertised)?;
        let cluster = cluster::restored_cluster_id(cluster::cluster_id(&members), snapshot);
        Ok((me.id, cluster))
    }
}

impl ServerConfig {
    /// The same for a folder that was restored from a snapshot of this id.
    #[must_use]
    pub(crate) fn restored_from(self, snapshot: u64) -> Self {
        Self { cluster_id: cluster::restored_cluster_id(self.cluster_id, snapshot), ..self }
    }
}
