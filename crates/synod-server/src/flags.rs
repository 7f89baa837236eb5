//! etcd's flags: one table that drives the command line, the environment, the configuration file
//! and the help alike.
//!
//! 1. [`Flag`] and `table`: which flags there are, what they take and whether they do anything.
//! 2. `value`: what texts a kind of flag takes, in Go's syntax.
//! 3. `line`, `environment`, `file`: where texts come from.
//! 4. [`Settings`]: the texts that were given, checked, with typed access.
//! 5. `help`: what `--help` prints.
//!
//! A new flag is a line in the table, and a field of [`crate::ServerConfig`] if it does something.

mod environment;
mod error;
mod file;
mod help;
mod line;
mod settings;
mod table;
mod value;

pub use error::FlagError;
pub use help::text as help;
pub(crate) use settings::INITIAL_CORRUPT_CHECK;
pub use settings::Settings;
pub use value::ValueError;
pub(crate) use value::duration;

use std::ffi::OsString;

/// A flag of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// Its name, without dashes.
    pub(crate) name: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// What it is when nobody gives it.
    pub(crate) default: &'static str,
    /// What it is for, for people.
    pub(crate) help: &'static str,
    /// Whether it does anything.
    pub(crate) effect: Effect,
}

/// What a flag takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`; `true` if the flag stands alone.
    Bool,
    /// A number from 0.
    Uint,
    /// A number below 2³².
    Uint32,
    /// A number that may be negative.
    Int,
    /// A time such as `1h30m` or `100ms`.
    Duration,
    /// URLs, separated by commas.
    Urls,
    /// Words, separated by commas.
    Words,
    /// Whatever; `true` if the flag stands alone.
    Anything,
    /// One of these.
    Choice(&'static [&'static str]),
}

/// Whether a flag does anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Effect {
    /// It does.
    Works,
    /// It is taken and changes nothing, for this reason.
    Ignored(&'static str),
    /// It is refused unless it asks for what is so anyway, for this reason.
    Refused(&'static str),
    /// It is an old name of this flag.
    Renamed(&'static str),
}

/// Flags that belong together, under a title of the help.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    /// The title.
    pub(crate) title: &'static str,
    /// The flags.
    pub(crate) flags: &'static [Flag],
}

/// What a command line asks for.
#[derive(Clone, Debug)]
pub enum Asked {
    /// A server with these settings.
    Serve(Box<Settings>),
    /// The help.
    Help,
    /// The version.
    Version,
}

impl Flag {
    const fn ignored(mut self, why: &'static str) -> Self {
        self.effect = Effect::Ignored(why);
        self
    }

    const fn refused(mut self, why: &'static str) -> Self {
        self.effect = Effect::Refused(why);
        self
    }

    /// The flag of this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        Self::all().find(|flag| flag.name == name)
    }

    /// All of them, in the order of the help.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        table::SECTIONS.iter().flat_map(|section| section.flags)
    }
}

/// A line of the table.
const fn flag(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, help, effect: Effect::Works }
}

/// The old name of a flag, which takes what the new one takes.
const fn renamed(name: &'static str, kind: Kind, new: &'static str) -> Flag {
    Flag { name, kind, default: "", help: "Old name", effect: Effect::Renamed(new) }
}

/// Reads the words of a command line, without the program's name, and the environment. As in etcd,
/// a configuration file makes all other flags and the environment count for nothing.
///
/// # Errors
/// If they make no sense.
pub(crate) fn read(
    words: &[OsString],
    environment: &[(String, String)],
) -> Result<Asked, FlagError> {
    let mut settings = match line::read(words)? {
        line::Line::Help => return Ok(Asked::Help),
        line::Line::Version => return Ok(Asked::Version),
        line::Line::Flags(settings) => settings,
    };
    let path = match settings.text("config-file") {
        "" => environment::config_file(environment),
        path => Some(path.to_owned()),
    };
    if let Some(path) = path {
        settings = file::read(path.as_ref())?;
    } else {
        environment::read(environment, &mut settings)?;
    }
    settings.finish()?;
    Ok(Asked::Serve(Box::new(settings)))
}

#[cfg(test)]
mod tests;
