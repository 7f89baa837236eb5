//! `synod server`, which is also what a program called `etcd` is: runs one member, with etcd's
//! flags.

mod logging;

use synod_server::{Asked, LogConfig, ServerConfig, ServerFlags, discover};
use tracing::{info, warn};

use crate::version;

/// Runs the member until it is told to stop, or answers `--help` and `--version`.
pub(crate) fn run(flags: &ServerFlags) -> anyhow::Result<()> {
    // What is not Unicode names none of our variables, and none of our values.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let settings = match flags.read(&environment.collect::<Vec<_>>())? {
        Asked::Help => {
            print!("{}", synod_server::help());
            return Ok(());
        }
        Asked::Version => {
            version::run();
            return Ok(());
        }
        Asked::Serve(settings) => *settings,
    };
    logging::start(&LogConfig::read(&settings)?)?;
    for warning in settings.warnings() {
        warn!("{warning}");
    }
    let settings = crate::client::block_on(async { Ok(discover(settings).await?) })?;
    let config = ServerConfig::read(&settings)?;
    info!(name = config.name, folder = %config.data_dir.display(), "configured");
    synod_server::run(config)?;
    Ok(())
}
