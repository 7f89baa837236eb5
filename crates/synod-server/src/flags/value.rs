//! What texts a kind of flag takes: Go's syntax for truths, numbers and times.

use std::time::Duration;

use super::Kind;
use crate::config::{Url, UrlError};

/// A text that a flag does not take.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// No number, truth or time.
    #[error("parse error")]
    Parse,
    /// A number that is too large.
    #[error("value out of range")]
    Range,
    /// None of the choices.
    #[error("invalid value")]
    Choice,
    /// No URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A file has another type there.
    #[error("cannot unmarshal {found} into a value of type {wanted}")]
    Type {
        /// What it has.
        found: &'static str,
        /// What it should have.
        wanted: &'static str,
    },
}

/// Whether a flag of this kind takes this text.
pub(super) fn check(kind: Kind, text: &str) -> Result<(), ValueError> {
    match kind {
        Kind::Text | Kind::Words | Kind::Anything => Ok(()),
        Kind::Bool => bool(text).map(drop).ok_or(ValueError::Parse),
        Kind::Uint => uint(text).map(drop),
        Kind::Uint32 => match u32::try_from(uint(text)?) {
            Ok(_) => Ok(()),
            Err(_) => Err(ValueError::Range),
        },
        Kind::Int => int(text).map(drop),
        Kind::Duration => duration(text).map(drop),
        Kind::Urls => urls(text).map(drop),
        Kind::Choice(choices) if choices.contains(&text) => Ok(()),
        Kind::Choice(_) => Err(ValueError::Choice),
    }
}

/// Go's truths.
pub(super) fn bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

pub(super) fn uint(text: &str) -> Result<u64, ValueError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ValueError::Parse);
    }
    text.parse().map_err(|_| ValueError::Range)
}

pub(super) fn int(text: &str) -> Result<i64, ValueError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ValueError::Parse);
    }
    text.parse().map_err(|_| ValueError::Range)
}

/// Go's times, without those before zero: a sum of decimal numbers with units, or `0`.
pub(crate) fn duration(text: &str) -> Result<Duration, ValueError> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(ValueError::Parse);
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let number =
            rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(ValueError::Parse)?;
        let (number, more) = rest.split_at(number);
        let unit = more.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(more.len());
        let (unit, more) = more.split_at(unit);
        nanos = nanos.checked_add(part(number, unit)?).ok_or(ValueError::Range)?;
        rest = more;
    }
    // Go's times end at 292 years, in nanoseconds.
    let nanos = i64::try_from(nanos).map_err(|_| ValueError::Range)?;
    Ok(Duration::from_nanos(nanos.unsigned_abs()))
}

/// The nanoseconds of one number with its unit.
fn part(number: &str, unit: &str) -> Result<u128, ValueError> {
    let unit: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(ValueError::Parse),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') {
        return Err(ValueError::Parse);
    }
    let digits = |text: &str| match text {
        "" => Ok(0),
        _ => uint(text).map(u128::from),
    };
    // Beyond a billionth of an hour nothing changes any more.
    let fraction = &fraction[..fraction.len().min(13)];
    let scale = (0..fraction.len()).fold(1_u128, |scale, _| scale * 10);
    Ok(digits(whole)? * unit + digits(fraction)? * unit / scale)
}

/// URLs, separated by commas; none in an empty text.
pub(super) fn urls(text: &str) -> Result<Vec<Url>, ValueError> {
    let parts = words(text);
    parts.iter().map(|part| Url::parse(part).map_err(ValueError::Url)).collect()
}

/// Words, separated by commas.
pub(super) fn words(text: &str) -> Vec<String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_gos() {
        let table = [
            ("0", 0),
            ("0s", 0),
            ("100ms", 100_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("2h45m30.25s", 9_930_250_000_000),
            ("+3us", 3_000),
            ("7µs", 7_000),
            ("12ns", 12),
        ];
        for (text, nanos) in table {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for text in ["", "5", "s", "1d", "-1s", "1.2.3s", "1 s", ".s", "1h30", "ß"] {
            assert_eq!(duration(text), Err(ValueError::Parse), "{text}");
        }
        for text in ["9999999h", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(duration(text), Err(ValueError::Range), "{text}");
        }
    }

    #[test]
    fn numbers_and_truths_are_gos() {
        assert_eq!(uint("0128"), Ok(128));
        for text in ["", "-1", "+1", "1_000", "0x10", "1.0", " 1"] {
            assert_eq!(uint(text), Err(ValueError::Parse), "{text}");
        }
        assert_eq!(uint("18446744073709551616"), Err(ValueError::Range));
        assert_eq!(int("-7"), Ok(-7));
        assert_eq!(int("-"), Err(ValueError::Parse));
        assert_eq!(check(Kind::Uint32, "4294967295"), Ok(()));
        assert_eq!(check(Kind::Uint32, "4294967296"), Err(ValueError::Range));
        assert_eq!((bool("T"), bool("False"), bool("yes")), (Some(true), Some(false), None));
    }
}
