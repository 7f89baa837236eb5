//! The addresses of listeners: `http://host:port`.

use std::fmt;

/// An address of a listener.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct Url {
    host: String,
    port: u16,
}

/// Why a text is no such address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UrlError {
    /// It does not begin with http://.
    #[error("{url:?} must begin with http://; {}", not_built(url))]
    Scheme {
        /// The text.
        url: String,
    },
    /// It is no host and port.
    #[error("{url:?} does not have the form http://host:port")]
    Form {
        /// The text.
        url: String,
    },
    /// It goes on after the port.
    #[error("{url:?} must end after the port")]
    Path {
        /// The text.
        url: String,
    },
}

fn not_built(url: &str) -> &'static str {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("https") => "TLS is not built yet",
        Some("unix" | "unixs") => "unix sockets are not built yet",
        _ => "no other scheme is known",
    }
}

impl Url {
    /// Reads one.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let owned = || url.to_owned();
        let Some(rest) = url.strip_prefix("http://") else {
            return Err(UrlError::Scheme { url: owned() });
        };
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
        Ok(Self { host: host.to_owned(), port })
    }

    /// `host:port`, to listen on or to dial.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}
