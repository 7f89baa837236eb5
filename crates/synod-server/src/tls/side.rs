//! One side of TLS, and what its files hold now.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use rustls::{ClientConfig, ServerConfig as RustlsServerConfig};
use tracing::{info, warn};

use super::TlsError;
use super::auto;
use super::load::{self, Loaded, Recipe};
use crate::config::{ServerConfig, TlsFiles, Url};

/// TLS towards clients or towards members.
#[derive(Debug)]
pub(crate) struct Side {
    role: &'static str,
    recipe: Recipe,
    loaded: RwLock<Arc<Loaded>>,
    /// The files as they were when they were last read.
    seen: Mutex<Vec<Stamp>>,
}

/// What tells that a file is another one than before.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl Side {
    /// Reads the files. Makes a certificate for the hosts of these URLs if none is given.
    pub(super) fn open(
        role: &'static str,
        files: &TlsFiles,
        config: &ServerConfig,
        urls: &[&Url],
    ) -> Result<Self, TlsError> {
        let mut files = files.clone();
        let is_own = files.pair.is_none() && files.auto;
        if is_own {
            let folder = config.data_dir.join("fixtures").join(role);
            files.pair = Some(auto::pair(&folder, urls, config.tls.validity_years)?);
        }
        let recipe = Recipe {
            files,
            is_own,
            is_peer: role == "peer",
            versions: config.tls.versions,
            cipher_suites: config.tls.cipher_suites.clone(),
        };
        if recipe.is_peer && !is_own && recipe.files.ca.is_none() {
            warn!(
                "without --peer-trusted-ca-file members trust whom this machine trusts, and \
                 whoever reaches the port for members may speak as one"
            );
        }
        // Before reading: a change in between is then seen as one.
        let seen = Mutex::new(stamps(&recipe));
        let loaded = RwLock::new(Arc::new(load::load(&recipe)?));
        Ok(Self { role, recipe, loaded, seen })
    }

    /// Reads the files again if one of them has changed. What cannot be used as a whole, such as a
    /// new certificate beside an old key, is warned of and leaves all as it was.
    pub(crate) fn refresh(&self) {
        let mut seen = self.seen.lock();
        let found = stamps(&self.recipe);
        if *seen == found {
            return;
        }
        *seen = found;
        match load::load(&self.recipe) {
            Ok(loaded) => {
                info!(role = self.role, not_after = loaded.not_after, "took up changed TLS files");
                *self.loaded.write() = Arc::new(loaded);
            }
            Err(error) => {
                warn!(role = self.role, %error, "changed TLS files cannot be used: the old stay");
            }
        }
    }

    /// What it is for.
    pub(crate) const fn role(&self) -> &'static str {
        self.role
    }

    /// When its certificate ends, in seconds of Unix time.
    pub(super) fn not_after(&self) -> i64 {
        self.loaded.read().not_after
    }

    /// For connections that others open.
    pub(crate) fn accepting(&self) -> Arc<RustlsServerConfig> {
        Arc::clone(&self.loaded.read().accept)
    }

    /// For connections that this member opens.
    pub(super) fn dialling(&self) -> Option<Arc<ClientConfig>> {
        self.loaded.read().dial.clone()
    }
}

fn stamps(recipe: &Recipe) -> Vec<Stamp> {
    let files = &recipe.files;
    let pairs = files.pair.iter().chain(&files.dial_pair).flat_map(|(cert, key)| [cert, key]);
    pairs.chain(&files.ca).chain(&files.crl).map(PathBuf::as_path).map(stamp).collect()
}

fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok();
    Stamp {
        modified: metadata.as_ref().and_then(|metadata| metadata.modified().ok()),
        bytes: metadata.as_ref().map_or(0, fs::Metadata::len),
        inode: metadata.as_ref().map_or(0, MetadataExt::ino),
    }
}
