//! The addresses of listeners: `http://host:port`, `https://host:port`, `unix://path`,
//! `unixs://path`.

use std::fmt;
use std::net::IpAddr;

/// An address of a listener.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct Url {
    scheme: Scheme,
    /// The path of a unix socket.
    host: String,
    /// 0 of a unix socket.
    port: u16,
}

/// How an address is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) enum Scheme {
    Http,
    Https,
    Unix,
    UnixTls,
}

/// Why a text is no such address, in etcd's words.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UrlError {
    /// It begins otherwise.
    #[error("URL scheme must be http, https, unix, or unixs: {url}")]
    Scheme {
        /// The text.
        url: String,
    },
    /// It is no host and port.
    #[error("URL address does not have the form \"host:port\": {url}")]
    Form {
        /// The text.
        url: String,
    },
    /// It goes on after the port.
    #[error("URL must not contain a path: {url}")]
    Path {
        /// The text.
        url: String,
    },
}

impl Url {
    /// Reads one.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let owned = || url.to_owned();
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| UrlError::Scheme { url: owned() })?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::UnixTls,
            _ => return Err(UrlError::Scheme { url: owned() }),
        };
        if scheme.is_unix() {
            if rest.is_empty() {
                return Err(UrlError::Form { url: owned() });
            }
            return Ok(Self { scheme, host: rest.to_owned(), port: 0 });
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(UrlError::Path { url: owned() });
        }
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| UrlError::Form { url: owned() })?;
        let is_v6 = host.starts_with('[') && host.ends_with(']');
        let port = port.parse().map_err(|_| UrlError::Form { url: owned() })?;
        if host.is_empty() || host.contains(char::is_whitespace) || (host.contains(':') && !is_v6) {
            return Err(UrlError::Form { url: owned() });
        }
        Ok(Self { scheme, host: host.to_owned(), port })
    }

    /// `host:port`, to listen on or to dial; the path of a unix socket.
    #[must_use]
    pub fn address(&self) -> String {
        if self.scheme.is_unix() {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The name or address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port; 0 of a unix socket.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is served with TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        matches!(self.scheme, Scheme::Https | Scheme::UnixTls)
    }

    /// Whether it is a unix socket.
    #[must_use]
    pub const fn is_unix(&self) -> bool {
        self.scheme.is_unix()
    }

    /// Whether who listens on both takes one port, as etcd does for two schemes of one address.
    pub(crate) fn shares(&self, other: &Self) -> bool {
        let chosen_by_the_system = self.port == 0;
        !self.is_unix() && !chosen_by_the_system && self.address() == other.address()
    }

    /// Whether it names something that can be listened on, and not a name to look up.
    pub(crate) fn can_be_bound(&self) -> bool {
        self.is_unix() || self.host == "localhost" || self.host().parse::<IpAddr>().is_ok()
    }
}

impl Scheme {
    const fn is_unix(self) -> bool {
        matches!(self, Self::Unix | Self::UnixTls)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Unix => "unix",
            Self::UnixTls => "unixs",
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.address())
    }
}
