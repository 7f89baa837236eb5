//! The command line, as Go reads one: `-name`, `--name`, `=value` or the value behind it.

use std::ffi::OsString;

use super::error::FlagError;
use super::settings::Settings;
use super::value::ValueError;
use super::{Flag, Kind};

/// What a line asks for.
pub(super) enum Line {
    Help,
    Version,
    Flags(Settings),
}

pub(super) fn read(words: &[OsString]) -> Result<Line, FlagError> {
    let mut settings = Settings::default();
    let mut asks_version = false;
    let mut words = words.iter().map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        let Some(name) = name_of(&word)? else {
            return Err(FlagError::NotAFlag { word });
        };
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        match (name, Flag::find(name)) {
            ("help" | "h", None) => return Ok(Line::Help),
            ("version", None) => {
                let text = value.unwrap_or_else(|| "true".to_owned());
                asks_version = super::value::bool(&text)
                    .ok_or(FlagError::Bool { name: "version", value: text })?;
            }
            (name, None) => return Err(FlagError::NotDefined { name: name.to_owned() }),
            (_, Some(flag)) => {
                let value = match (value, flag.kind) {
                    (Some(value), _) => value,
                    (None, Kind::Bool | Kind::Anything) => "true".to_owned(),
                    (None, _) => {
                        words.next().ok_or(FlagError::NeedsArgument { name: flag.name })?
                    }
                };
                set(&mut settings, flag, value)?;
            }
        }
    }
    Ok(if asks_version { Line::Version } else { Line::Flags(settings) })
}

/// The word without its dashes; nothing if it has none.
fn name_of(word: &str) -> Result<Option<&str>, FlagError> {
    let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let name = name.strip_prefix('-').unwrap_or(name);
    if name.is_empty() || name.starts_with(['-', '=']) {
        return Err(FlagError::Syntax { word: word.to_owned() });
    }
    Ok(Some(name))
}

fn set(settings: &mut Settings, flag: &'static Flag, value: String) -> Result<(), FlagError> {
    let name = flag.name;
    settings.set(flag, value.clone()).map_err(|reason| match (flag.kind, reason) {
        (Kind::Bool, ValueError::Parse) => FlagError::Bool { name, value },
        (_, reason) => FlagError::Value { name, value, reason },
    })
}
