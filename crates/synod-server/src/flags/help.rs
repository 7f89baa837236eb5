//! What `--help` prints.

use std::fmt::Write;

use super::{Effect, Flag, table};

/// How to call the server.
pub(crate) const USAGE: &str = "\
Usage:

  etcd [flags]            (or: synod server [flags])
    Run one member of a cluster.

  etcd --version
    Print the versions.

  etcd -h | --help
    Print this.

  etcd --config-file FILE
    Take all settings from a file in YAML. Other flags and the environment are then ignored.

A flag may begin with one dash or two; its value follows '=' or a space, that of a switch '='.
Each flag is a variable, too: --listen-client-urls is ETCD_LISTEN_CLIENT_URLS, or
SYNOD_LISTEN_CLIENT_URLS. Times are like 300ms or 1h30m, sizes in bytes.
";

/// Usage and all flags, by section.
#[must_use]
pub fn text() -> String {
    let mut text = USAGE.to_owned();
    for section in table::SECTIONS {
        let _ = write!(text, "\n{}:\n", section.title);
        for flag in section.flags {
            line(&mut text, flag);
        }
    }
    text
}

fn line(text: &mut String, flag: &Flag) {
    let _ = writeln!(text, "  --{} '{}'", flag.name, flag.default);
    let _ = match flag.effect {
        Effect::Works => writeln!(text, "    {}.", flag.help),
        Effect::Ignored(why) if flag.help.is_empty() => writeln!(text, "    No effect: {why}."),
        Effect::Ignored(why) => writeln!(text, "    {}. No effect: {why}.", flag.help),
        Effect::Refused(why) => writeln!(text, "    {}. Refused: {why}.", flag.help),
        Effect::Renamed(new) => writeln!(text, "    {} of --{new}.", flag.help),
    };
}
