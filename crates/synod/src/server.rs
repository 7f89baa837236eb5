//! `synod server`, which is also what a program called `etcd` is: runs one member, with etcd's
//! flags.

mod logging;

use synod_server::{Asked, LogConfig, ServerConfig, ServerFlags, discover};
use tracing::{debug, info, warn};

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
    take_small_pages();
    for warning in settings.warnings() {
        warn!("{warning}");
    }
    let settings = crate::client::block_on(async { Ok(discover(settings).await?) })?;
    let config = ServerConfig::read(&settings)?;
    let given = settings.line();
    info!(name = config.name, folder = %config.data_dir.display(), given, "configured");
    synod_server::run(config)?;
    Ok(())
}

/// The allocator asks the kernel for huge pages, and each of its many small areas takes two
/// megabytes of memory as soon as it is touched: three members that do nothing took 99 MiB instead
/// of 51, and ten thousand watches 33 MiB instead of 6. Nothing was faster for it.
fn take_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        debug!(%error, "the kernel goes on to give huge pages");
    }
}
