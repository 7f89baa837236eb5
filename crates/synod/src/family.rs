//! A child that ends with its parent.
//!
//! `synod dev` must never leave members behind, even if it is killed itself. Each member therefore
//! asks the kernel for a SIGKILL when its parent ends. A member that is killed loses nothing: that
//! is what a member is for.

use std::env;
use std::process::Command;

use anyhow::{Context, bail};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Names the parent to end with, in the child's environment.
const PARENT: &str = "SYNOD_PARENT_PID";

/// Lets a command's process end with this one.
pub(crate) fn tie(command: &mut Command) {
    command.env(PARENT, getpid().as_raw_nonzero().to_string());
}

/// Ends this process with its parent, if the parent asked for it.
pub(crate) fn follow_parent() -> anyhow::Result<()> {
    let Ok(parent) = env::var(PARENT) else {
        return Ok(());
    };
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot follow the parent")?;
    // The parent may have ended before the kernel was asked.
    let now = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if now.as_ref() != Some(&parent) {
        bail!("the parent process {parent} is gone");
    }
    Ok(())
}
