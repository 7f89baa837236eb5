//! The environment: `ETCD_FLAG_NAME` and `SYNOD_FLAG_NAME`.

use super::Flag;
use super::error::FlagError;
use super::settings::Settings;

/// The configuration file it names.
pub(super) fn config_file(environment: &[(String, String)]) -> Option<String> {
    ["ETCD", "SYNOD"].iter().find_map(|prefix| value(environment, &variable(prefix, "config-file")))
}

/// Takes what it says. As in etcd, a variable for a flag that is on the command line, too, is an
/// error: one of the two would be a surprise.
pub(super) fn read(
    environment: &[(String, String)],
    settings: &mut Settings,
) -> Result<(), FlagError> {
    for flag in Flag::all() {
        let (etcd, synod) = (variable("ETCD", flag.name), variable("SYNOD", flag.name));
        let (variable, text) = match (value(environment, &etcd), value(environment, &synod)) {
            (Some(one), Some(other)) if one != other => {
                return Err(FlagError::TwoVariables { etcd, synod });
            }
            (Some(text), _) => (etcd, text),
            (None, Some(text)) => (synod, text),
            (None, None) => continue,
        };
        if settings.is_set(flag.name) {
            return Err(FlagError::Shadowed { variable });
        }
        settings.set(flag, text.clone()).map_err(|reason| FlagError::Variable {
            variable,
            value: text,
            reason,
        })?;
    }
    let unknown = environment.iter().filter(|(name, _)| is_unknown(name));
    for (name, _) in unknown {
        settings.warn(format!("unrecognized environment variable {name}"));
    }
    Ok(())
}

fn variable(prefix: &str, flag: &str) -> String {
    format!("{prefix}_{}", flag.to_uppercase().replace('-', "_"))
}

/// An empty variable says nothing.
fn value(environment: &[(String, String)], variable: &str) -> Option<String> {
    let found = environment.iter().find(|(name, value)| name == variable && !value.is_empty());
    found.map(|(_, value)| value.clone())
}

fn is_unknown(name: &str) -> bool {
    name.starts_with("ETCD_") && !Flag::all().any(|flag| variable("ETCD", flag.name) == name)
}
