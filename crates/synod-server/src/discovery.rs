//! `--discovery-srv`: the members are those that DNS names.
//!
//! As in etcd, the SRV records of `_etcd-server-ssl._tcp.DOMAIN` are members with TLS, those of
//! `_etcd-server._tcp.DOMAIN` are members without. The record whose target has an address that this
//! member advertises is this member. What is found takes the place of `--initial-cluster`, so the
//! records must say the same to all members, and for as long as the cluster lives: the ids of
//! members come from their URLs.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::RData;

use crate::config::Url;
use crate::flags::Settings;

/// Why no members were found.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DiscoveryError {
    /// In etcd's words.
    #[error(
        "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
         \"discovery\", \"discovery-endpoints\" or \"discovery-srv\""
    )]
    Conflict,
    /// The system's resolver cannot be used.
    #[error("--discovery-srv: the resolver of this machine cannot be used: {reason}")]
    NoResolver {
        /// What it said.
        reason: String,
    },
    /// Neither service has records.
    #[error(
        "--discovery-srv: no members at {secure} ({secure_reason}) nor at {open} ({open_reason})"
    )]
    NoRecords {
        /// The name of the service with TLS.
        secure: String,
        /// What was answered.
        secure_reason: String,
        /// The name of the service without.
        open: String,
        /// What was answered.
        open_reason: String,
    },
    /// The target of a record has no address.
    #[error(
        "--discovery-srv: the record {service} names {host}, whose address is not found: {reason}"
    )]
    NoAddress {
        /// The service.
        service: String,
        /// The target of the record.
        host: String,
        /// What was answered.
        reason: String,
    },
    /// This member is none of them.
    #[error(
        "--discovery-srv: cannot find this member in the SRV records: it advertises {advertised} \
         in --initial-advertise-peer-urls, and DNS names {}", found.join(", ")
    )]
    NotAmongThem {
        /// What this member advertises.
        advertised: String,
        /// The URLs that were found.
        found: Vec<String>,
    },
    /// The record of this member is one of the other service.
    #[error(
        "--discovery-srv: DNS names {found}, which is this member, but it advertises {advertised}: \
         the scheme must be the same"
    )]
    Scheme {
        /// The URL that was found.
        found: String,
        /// What this member advertises.
        advertised: String,
    },
}

/// A member that DNS names.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Found {
    url: String,
    name: String,
    is_this: bool,
}

/// Puts the members that DNS names in the place of `--initial-cluster`, if `--discovery-srv` asks
/// for it.
///
/// # Errors
/// If they are not found, or this member is none of them.
pub async fn discover(settings: Settings) -> Result<Settings, DiscoveryError> {
    if settings.text("discovery-srv").is_empty() {
        return Ok(settings);
    }
    let no_resolver = |error: NetError| DiscoveryError::NoResolver { reason: error.to_string() };
    let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
    discover_with(&resolver.map_err(no_resolver)?, settings).await
}

async fn discover_with(
    resolver: &TokioResolver,
    settings: Settings,
) -> Result<Settings, DiscoveryError> {
    if settings.is_set("initial-cluster") {
        return Err(DiscoveryError::Conflict);
    }
    let domain = settings.text("discovery-srv").trim_end_matches('.');
    let suffix = match settings.text("discovery-srv-name") {
        "" => String::new(),
        name => format!("-{name}"),
    };
    let advertised = settings.urls("initial-advertise-peer-urls");
    let own = addresses_of(resolver, &advertised).await;
    let secure = format!("_etcd-server-ssl{suffix}._tcp.{domain}.");
    let open = format!("_etcd-server{suffix}._tcp.{domain}.");
    let mut found = BTreeSet::new();
    let mut reasons = Vec::new();
    for (scheme, service) in [("https", &secure), ("http", &open)] {
        match targets(resolver, service).await {
            Ok(targets) => {
                for (host, port) in targets {
                    let addresses = resolve(resolver, &host).await.map_err(|reason| {
                        let (service, host) = (service.clone(), host.clone());
                        DiscoveryError::NoAddress { service, host, reason }
                    })?;
                    let is_own = |ip: &IpAddr| own.contains(&SocketAddr::new(*ip, port));
                    let is_this = addresses.iter().any(is_own);
                    let (name, url) =
                        (format!("{host}:{port}"), format!("{scheme}://{host}:{port}"));
                    found.insert(Found { url, name, is_this });
                }
            }
            Err(reason) => reasons.push(reason),
        }
    }
    if let [secure_reason, open_reason] = reasons.as_slice() {
        let (secure_reason, open_reason) = (secure_reason.clone(), open_reason.clone());
        return Err(DiscoveryError::NoRecords { secure, secure_reason, open, open_reason });
    }
    place(settings, &advertised, found)
}

/// Writes what was found into the settings.
fn place(
    settings: Settings,
    advertised: &[Url],
    found: BTreeSet<Found>,
) -> Result<Settings, DiscoveryError> {
    let all = || advertised.iter().map(Url::to_string).collect::<Vec<_>>().join(",");
    let own: Vec<&str> =
        found.iter().filter(|member| member.is_this).map(|member| &*member.url).collect();
    if own.is_empty() {
        let found = found.into_iter().map(|member| member.url).collect();
        return Err(DiscoveryError::NotAmongThem { advertised: all(), found });
    }
    let is_secure = advertised.iter().any(Url::is_tls);
    if let Some(other) = own.iter().find(|url| url.starts_with("https://") != is_secure) {
        let found = (*other).to_owned();
        return Err(DiscoveryError::Scheme { found, advertised: all() });
    }
    // The others know this member by what DNS says: so it must call itself.
    let own = own.join(",");
    let this = settings.text("name").to_owned();
    let members = found.iter().map(|member| {
        let name = if member.is_this { &this } else { &member.name };
        format!("{name}={}", member.url)
    });
    let members = members.collect::<Vec<_>>().join(",");
    Ok(settings.with("initial-cluster", members).with("initial-advertise-peer-urls", own))
}

/// The hosts and ports that a service's records name.
async fn targets(resolver: &TokioResolver, service: &str) -> Result<Vec<(String, u16)>, String> {
    let answer = resolver.srv_lookup(service).await.map_err(|error| error.to_string())?;
    let targets = answer.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(srv) => {
            let host = srv.target.to_ascii();
            Some((host.trim_end_matches('.').to_owned(), srv.port))
        }
        _ => None,
    });
    Ok(targets.collect())
}

/// The addresses of the URLs, as far as there are any.
async fn addresses_of(resolver: &TokioResolver, urls: &[Url]) -> BTreeSet<SocketAddr> {
    let mut addresses = BTreeSet::new();
    for url in urls {
        let host = url.host();
        let ips = match host.parse() {
            Ok(ip) => vec![ip],
            Err(_) => resolve(resolver, host).await.unwrap_or_default(),
        };
        addresses.extend(ips.into_iter().map(|ip| SocketAddr::new(ip, url.port())));
    }
    addresses
}

async fn resolve(resolver: &TokioResolver, host: &str) -> Result<Vec<IpAddr>, String> {
    let name = format!("{host}.");
    let found = resolver.lookup_ip(name).await.map_err(|error| error.to_string())?;
    Ok(found.iter().collect())
}

#[cfg(test)]
mod tests;
