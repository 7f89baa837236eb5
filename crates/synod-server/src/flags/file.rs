//! The configuration file: YAML with the flags' names as keys, and etcd's nested sections.
//!
//! As in etcd, numbers and truths must be such in the file, and a time may be a number of
//! nanoseconds. Beyond etcd, a time may be a text such as `10m`, lists of URLs and words may be
//! lists, every flag has a key, and an unknown key is warned of instead of passed over.

use std::path::Path;

use saphyr::{LoadableYamlNode, Mapping, Scalar, Yaml};

use super::error::FlagError;
use super::settings::Settings;
use super::value::ValueError;
use super::{Flag, Kind};

pub(super) fn read(path: &Path) -> Result<Settings, FlagError> {
    let text = std::fs::read_to_string(path)
        .map_err(|reason| FlagError::Open { path: path.to_owned(), reason })?;
    let bad = |reason: String| FlagError::Yaml { path: path.to_owned(), reason };
    let documents = Yaml::load_from_str(&text).map_err(|error| bad(error.to_string()))?;
    let mut settings = Settings::default();
    match documents.first() {
        None | Some(Yaml::Value(Scalar::Null)) => {}
        Some(Yaml::Mapping(keys)) => Reader { path, settings: &mut settings }.top(keys)?,
        Some(_) => return Err(bad("it is not a mapping of flags to values".to_owned())),
    }
    settings.warn(format!(
        "loaded server configuration from {}, other configuration command line flags and \
         environment variables will be ignored if provided",
        path.display()
    ));
    Ok(settings)
}

struct Reader<'a> {
    path: &'a Path,
    settings: &'a mut Settings,
}

impl Reader<'_> {
    fn top(&mut self, keys: &Mapping<'_>) -> Result<(), FlagError> {
        for (key, value) in keys {
            let key = self.key(key)?;
            match (key.as_str(), value) {
                (section, Yaml::Mapping(keys)) if SECTIONS.contains(&section) => {
                    for (inner, value) in keys {
                        let inner = self.key(inner)?;
                        self.take(
                            &format!("{section}: {inner}"),
                            &flag_of(section, &inner),
                            value,
                        )?;
                    }
                }
                (section, Yaml::Value(Scalar::Null)) if SECTIONS.contains(&section) => {}
                (section, _) if SECTIONS.contains(&section) => {
                    return Err(self.bad(section, type_error(value, "mapping")));
                }
                (key, value) => self.take(key, key, value)?,
            }
        }
        Ok(())
    }

    fn key(&self, key: &Yaml<'_>) -> Result<String, FlagError> {
        match key {
            Yaml::Value(Scalar::String(key)) => Ok(key.to_string()),
            other => Err(self.bad("a key", type_error(other, "string"))),
        }
    }

    fn take(&mut self, key: &str, name: &str, value: &Yaml<'_>) -> Result<(), FlagError> {
        let Some(flag) = Flag::find(name) else {
            self.settings.warn(format!("{}: {key} is not known and ignored", self.path.display()));
            return Ok(());
        };
        match text(flag.kind, value).map_err(|reason| self.bad(key, reason))? {
            Some(text) => self.settings.set(flag, text).map_err(|reason| self.bad(key, reason)),
            None => Ok(()),
        }
    }

    fn bad(&self, key: &str, reason: ValueError) -> FlagError {
        FlagError::File { path: self.path.to_owned(), key: key.to_owned(), reason }
    }
}

/// The flag that a key of a section stands for.
fn flag_of(section: &str, key: &str) -> String {
    match (section, key) {
        ("client-transport-security", "allowed-hostname") => "client-cert-allowed-hostname".into(),
        ("client-transport-security", "crl-file") => "client-crl-file".into(),
        ("client-transport-security", key) => key.to_owned(),
        ("peer-transport-security", "allowed-cn") => "peer-cert-allowed-cn".into(),
        ("peer-transport-security", "allowed-hostname") => "peer-cert-allowed-hostname".into(),
        ("peer-transport-security", key) => format!("peer-{key}"),
        ("socket-options", key) => format!("socket-{key}"),
        (_, key) => format!("discovery-{key}"),
    }
}

/// The text that a flag would have on the command line; nothing for null.
fn text(kind: Kind, value: &Yaml<'_>) -> Result<Option<String>, ValueError> {
    let wanted = match kind {
        Kind::Bool => "bool",
        Kind::Uint | Kind::Uint32 => "uint",
        Kind::Int => "int",
        Kind::Duration => "time.Duration",
        Kind::Text | Kind::Urls | Kind::Words | Kind::Choice(_) | Kind::Anything => "string",
    };
    let is_text = wanted == "string";
    Ok(Some(match value {
        Yaml::Value(Scalar::Null) => return Ok(None),
        Yaml::Value(Scalar::Boolean(value)) if wanted == "bool" || is_text => value.to_string(),
        Yaml::Value(Scalar::Integer(nanos)) if kind == Kind::Duration => format!("{nanos}ns"),
        Yaml::Value(Scalar::Integer(value)) if wanted != "bool" => value.to_string(),
        Yaml::Value(Scalar::String(value)) if is_text || kind == Kind::Duration => {
            value.to_string()
        }
        Yaml::Sequence(values) if matches!(kind, Kind::Urls | Kind::Words) => {
            let texts = values.iter().map(|value| text(Kind::Text, value));
            let texts = texts.collect::<Result<Vec<_>, _>>()?;
            texts.into_iter().flatten().collect::<Vec<_>>().join(",")
        }
        other => return Err(type_error(other, wanted)),
    }))
}

fn type_error(value: &Yaml<'_>, wanted: &'static str) -> ValueError {
    let found = match value {
        Yaml::Value(Scalar::String(_)) => "string",
        Yaml::Value(Scalar::Integer(_) | Scalar::FloatingPoint(_)) => "number",
        Yaml::Value(Scalar::Boolean(_)) => "bool",
        Yaml::Sequence(_) => "array",
        _ => "object",
    };
    ValueError::Type { found, wanted }
}

const SECTIONS: [&str; 4] =
    ["client-transport-security", "peer-transport-security", "socket-options", "discovery-config"];
