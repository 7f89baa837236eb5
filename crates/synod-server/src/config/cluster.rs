//! The initial cluster: who its members are, and what their ids are.

use std::collections::{BTreeMap, BTreeSet};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::ConfigError;
use super::url::Url;

/// A member as the initial cluster names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MemberConfig {
    /// Derived from its peer URLs and the cluster's token; never 0.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Where its peers find it, in order; the first one is dialled.
    pub peer_urls: Vec<Url>,
}

/// Reads `NAME=URL,NAME=URL`; a name may come more than once, with more URLs.
pub(super) fn parse(text: &str, token: &str) -> Result<Vec<MemberConfig>, ConfigError> {
    let mut named: BTreeMap<String, Vec<Url>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let bad = || ConfigError::BadInitialCluster { part: part.to_owned() };
        let (name, url) = part.split_once('=').ok_or_else(bad)?;
        if name.is_empty() {
            return Err(bad());
        }
        let url = Url::parse(url)
            .map_err(|reason| ConfigError::Url { flag: "initial-cluster", reason })?;
        if !seen.insert(url.clone()) {
            return Err(ConfigError::DuplicateUrl { url: url.to_string() });
        }
        named.entry(name.to_owned()).or_default().push(url);
    }
    if named.is_empty() {
        return Err(ConfigError::BadInitialCluster { part: text.to_owned() });
    }
    let mut members: Vec<_> =
        named.into_iter().map(|(name, urls)| member(name, urls, token)).collect();
    members.sort_by_key(|member| member.id);
    Ok(members)
}

/// A cluster of one.
pub(super) fn alone(name: &str, peer_urls: &[Url], token: &str) -> Vec<MemberConfig> {
    vec![member(name.to_owned(), peer_urls.to_vec(), token)]
}

/// This member, if the cluster knows it under the URLs it advertises.
pub(super) fn find<'a>(
    members: &'a [MemberConfig],
    name: &str,
    advertised: &[Url],
) -> Result<&'a MemberConfig, ConfigError> {
    let Some(me) = members.iter().find(|member| member.name == name) else {
        let known = members.iter().map(|member| member.name.clone()).collect();
        return Err(ConfigError::NameNotInCluster { name: name.to_owned(), known });
    };
    let mut advertised = advertised.to_vec();
    advertised.sort();
    if me.peer_urls != advertised {
        return Err(ConfigError::AdvertiseMismatch {
            name: name.to_owned(),
            in_cluster: join(&me.peer_urls),
            advertised: join(&advertised),
        });
    }
    Ok(me)
}

/// The id of the cluster of these members, which are in order; the one that etcd gives it.
pub(super) fn cluster_id(members: &[MemberConfig]) -> u64 {
    let ids: Vec<u8> = members.iter().flat_map(|member| member.id.to_be_bytes()).collect();
    etcds_id(&ids)
}

/// The id of the same cluster made anew from a snapshot: nobody who began with another one, or with
/// none, is taken for a member of it.
pub(super) fn restored_cluster_id(cluster: u64, snapshot: u64) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("synod cluster id of a restored cluster");
    hasher.update(&cluster.to_le_bytes()).update(&snapshot.to_le_bytes());
    let hash = hasher.finalize();
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes")).max(1)
}

fn member(name: String, mut peer_urls: Vec<Url>, token: &str) -> MemberConfig {
    peer_urls.sort();
    let mut urls: Vec<String> = peer_urls.iter().map(Url::to_string).collect();
    urls.sort();
    let id = etcds_id([urls.concat().as_str(), token].concat().as_bytes());
    MemberConfig { id, name, peer_urls }
}

/// An id as etcd derives it, since people and scripts know the ids of their clusters. It names and
/// protects nothing: what a data folder is safe by is the incarnation it has drawn. 0 names nobody,
/// so it is not given away.
fn etcds_id(of: &[u8]) -> u64 {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, of);
    u64::from_be_bytes(*hash.as_ref().first_chunk().expect("a hash has 20 bytes")).max(1)
}

fn join(urls: &[Url]) -> String {
    urls.iter().map(Url::to_string).collect::<Vec<_>>().join(",")
}
