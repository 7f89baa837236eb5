//! What is wrong with flags, in the words that etcd, and Go's own flags, have for it.

use std::path::PathBuf;

use super::value::ValueError;

/// Flags, an environment or a file that make no sense.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    /// There is no such flag.
    #[error("flag provided but not defined: -{name}")]
    NotDefined {
        /// The name.
        name: String,
    },
    /// The line ends where its value should be.
    #[error("flag needs an argument: -{name}")]
    NeedsArgument {
        /// The flag.
        name: &'static str,
    },
    /// Three dashes, or no name.
    #[error("bad flag syntax: {word}")]
    Syntax {
        /// The word.
        word: String,
    },
    /// No such truth.
    #[error("invalid boolean value {value:?} for -{name}: parse error")]
    Bool {
        /// The flag.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// A value that the flag does not take.
    #[error("invalid value {value:?} for flag -{name}: {reason}")]
    Value {
        /// The flag.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: ValueError,
    },
    /// A word that is no flag.
    #[error("{word:?} is not a valid flag")]
    NotAFlag {
        /// The word.
        word: String,
    },
    /// The environment has a value that the flag does not take.
    #[error("invalid value {value:?} for {variable}: {reason}")]
    Variable {
        /// The variable.
        variable: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: ValueError,
    },
    /// Command line and environment say something about the same flag.
    #[error(
        "conflicting environment variable {variable:?} is shadowed by corresponding command-line \
         flag (either unset environment variable or disable flag)"
    )]
    Shadowed {
        /// The variable.
        variable: String,
    },
    /// The environment has a flag twice.
    #[error("{etcd} and {synod} differ: unset one of them")]
    TwoVariables {
        /// The variable by etcd's name.
        etcd: String,
        /// The variable by Synod's.
        synod: String,
    },
    /// The file cannot be read.
    #[error("open {}: {reason}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not. It is in the text, so it is not named as a source again.
        reason: std::io::Error,
    },
    /// The file is no YAML.
    #[error("{}: {reason}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// The file has a value that the flag does not take.
    #[error("{}: {key}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The key, with its section's.
        key: String,
        /// What is wrong with it.
        reason: ValueError,
    },
    /// A flag that would do harm, or nothing where something is expected.
    #[error("--{name} is refused: {reason}")]
    Refused {
        /// The flag.
        name: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// A flag by its old and its new name.
    #[error("cannot set --{old} and --{new} at the same time, please use --{new} only")]
    OldAndNew {
        /// The old name.
        old: &'static str,
        /// The new name.
        new: &'static str,
    },
}

impl FlagError {
    /// Whether it is one that Go's flags find: those end etcd with status 2 and the usage, all
    /// others with 1.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NotDefined { .. }
                | Self::NeedsArgument { .. }
                | Self::Syntax { .. }
                | Self::Bool { .. }
                | Self::Value { .. }
        )
    }
}
