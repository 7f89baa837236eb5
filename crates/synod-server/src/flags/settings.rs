//! What was given, checked, with typed access.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::FlagError;
use super::value::{self, ValueError};
use super::{Effect, Flag};
use crate::config::Url;

/// The texts that flags were given, each one that its flag takes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    given: BTreeMap<&'static str, String>,
    warnings: Vec<String>,
}

impl Settings {
    /// Takes a text for a flag; the last one counts.
    pub(super) fn set(&mut self, flag: &'static Flag, text: String) -> Result<(), ValueError> {
        value::check(flag.kind, &text)?;
        self.given.insert(flag.name, text);
        Ok(())
    }

    /// Something to tell once the log is there.
    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Moves old names to new ones, warns of what does nothing, and refuses what must not be.
    pub(super) fn finish(&mut self) -> Result<(), FlagError> {
        let names: Vec<&'static str> = self.given.keys().copied().collect();
        for name in names {
            let flag = Flag::find(name).expect("only flags are set");
            match flag.effect {
                Effect::Works => {}
                Effect::Ignored(reason) => {
                    self.warn(format!("--{name} is accepted and does nothing: {reason}"));
                }
                Effect::Refused(reason) if !self.is_default(flag) => {
                    return Err(FlagError::Refused { name, reason });
                }
                Effect::Refused(_) => {}
                Effect::Renamed(new) => self.rename(name, new)?,
            }
        }
        self.warn_of_gates();
        Ok(())
    }

    fn warn_of_gates(&mut self) {
        for word in self.words("feature-gates") {
            if !word.starts_with(INITIAL_CORRUPT_CHECK) {
                self.warn(format!(
                    "--feature-gates={word} is accepted and does nothing: Synod has no such choice"
                ));
            }
        }
    }

    fn rename(&mut self, old: &'static str, new: &'static str) -> Result<(), FlagError> {
        if self.is_set(new) {
            return Err(FlagError::OldAndNew { old, new });
        }
        let text = self.given.remove(old).expect("it is given");
        self.given.insert(new, text);
        let effect = Flag::find(new).map(|flag| flag.effect);
        let also = match effect {
            Some(Effect::Ignored(reason)) => format!(" It does nothing: {reason}"),
            _ => String::new(),
        };
        self.warn(format!(
            "--{old} is deprecated in v3.6 and will be decommissioned in v3.7. Use '--{new}' \
             instead.{also}"
        ));
        Ok(())
    }

    fn is_default(&self, flag: &Flag) -> bool {
        match flag.kind {
            super::Kind::Bool => self.bool(flag.name) == (flag.default == "true"),
            _ => self.text(flag.name) == flag.default,
        }
    }

    /// The same, with this text for a flag, which is one of its kind.
    pub(crate) fn with(mut self, name: &'static str, text: String) -> Self {
        let flag = Flag::find(name).expect("a flag of the table");
        value::check(flag.kind, &text).expect("of the flag's kind");
        self.given.insert(flag.name, text);
        self
    }

    /// What is to be told about them, once.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What was given, wherever it was: flags as they would stand on one line, for a log. What
    /// proves who somebody is stays out.
    #[must_use]
    pub fn line(&self) -> String {
        let shown = |(name, text): (&&'static str, &String)| match *name {
            "discovery-user" | "discovery-password" => format!("--{name}=***"),
            name => format!("--{name}={text}"),
        };
        self.given.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    /// Whether the flag was given.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// What it was given, or its default.
    pub(crate) fn text(&self, name: &str) -> &str {
        let default = || Flag::find(name).expect("a flag of the table").default;
        self.given.get(name).map_or_else(default, String::as_str)
    }

    /// A path, unless it is empty.
    pub(crate) fn path(&self, name: &str) -> Option<std::path::PathBuf> {
        Some(self.text(name)).filter(|path| !path.is_empty()).map(Into::into)
    }

    pub(crate) fn bool(&self, name: &str) -> bool {
        value::bool(self.text(name)).expect(CHECKED)
    }

    pub(crate) fn uint(&self, name: &str) -> u64 {
        value::uint(self.text(name)).expect(CHECKED)
    }

    pub(crate) fn int(&self, name: &str) -> i64 {
        value::int(self.text(name)).expect(CHECKED)
    }

    pub(crate) fn duration(&self, name: &str) -> Duration {
        value::duration(self.text(name)).expect(CHECKED)
    }

    pub(crate) fn urls(&self, name: &str) -> Vec<Url> {
        value::urls(self.text(name)).expect(CHECKED)
    }

    pub(crate) fn words(&self, name: &str) -> Vec<String> {
        value::words(self.text(name))
    }
}

/// The one gate that does something.
pub(crate) const INITIAL_CORRUPT_CHECK: &str = "InitialCorruptCheck";

/// Why a text has the form of its flag's kind; a test looks at the defaults.
const CHECKED: &str = "texts are checked when they are set";
