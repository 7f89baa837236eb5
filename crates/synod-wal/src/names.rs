//! The names of the log's files. Others in the folder are left alone.

/// What a file of this name is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Name {
    /// A segment of the log, by number.
    Segment(u64),
    /// A file ready to become a segment, whatever it holds.
    Spare(u64),
    /// A file that was to become a spare when the process ended.
    Half(u64),
}

impl Name {
    /// The file's name.
    pub(crate) fn file(&self) -> String {
        match self {
            Self::Segment(number) => format!("{number:016x}.wal"),
            Self::Spare(number) => format!("{number:016x}.spare"),
            Self::Half(number) => format!("{number:016x}.half"),
        }
    }

    /// What a file is, or `None` if it is not ours.
    pub(crate) fn parse(file: &str) -> Option<Self> {
        let (digits, suffix) = file.split_once('.')?;
        let number = u64::from_str_radix(digits, 16).ok()?;
        let name = match suffix {
            "wal" => Self::Segment(number),
            "spare" => Self::Spare(number),
            "half" => Self::Half(number),
            _ => return None,
        };
        (name.file() == file).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_not() {
        for name in [Name::Segment(0), Name::Spare(u64::MAX), Name::Half(0xabc)] {
            assert_eq!(Name::parse(&name.file()), Some(name));
        }
        for other in ["", "lock", "0.wal", "000000000000000A.wal", "+00000000000000a.wal", ".wal"] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }
}
