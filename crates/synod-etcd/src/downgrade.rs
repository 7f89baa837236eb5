//! Downgrades of a cluster: what etcd 3.6 answers, as far as it is true here.
//!
//! There is no older etcd that could read a member's data, so there is no version to go back to:
//! each one is refused as etcd refuses a version that is not the one before. That holds for
//! VALIDATE, too: who asks it is about to put another binary in the place of this one. Nothing is
//! ever under way, so cancelling succeeds, as it does in etcd.

use crate::error::EtcdError;
use crate::refusal::Refusal;

/// Why a cluster does not go to a version.
#[must_use]
pub fn refuse(target: &str) -> Refusal {
    if !is_version(target) && !is_version(&format!("{target}.0")) {
        let detail = format!("{target:?} is no version such as 3.5 or 3.5.0");
        return Refusal::new(EtcdError::WrongDowngradeVersionFormat).with_detail(detail);
    }
    Refusal::new(EtcdError::InvalidDowngradeTargetVersion).with_detail(
        "no version of etcd reads this server's data folder: save a snapshot, and restore it with \
         the tools of the etcd that is to go on",
    )
}

/// Whether a text is a version to etcd: three numbers, with zeros before them or not, then whatever
/// follows a `-` or a `+`.
fn is_version(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    let is_number =
        |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit()) && part.parse::<i64>().is_ok();
    numbers.len() == 3 && numbers.iter().all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_version_is_told_apart() {
        let is_wrong = |text| {
            let refused = refuse(text).etcd();
            assert!(
                refused == Some(EtcdError::WrongDowngradeVersionFormat) || {
                    refused == Some(EtcdError::InvalidDowngradeTargetVersion)
                }
            );
            refused == Some(EtcdError::WrongDowngradeVersionFormat)
        };
        for version in ["3.5", "3.5.0", "3.6", "4.0.0", "3.5.0-rc.1", "3.5.0+x", "0.0", "3.05"] {
            assert!(!is_wrong(version), "{version}");
        }
        for version in
            ["", "3", "v3.5", "3.x", "3.5.", "3.5.0.1", "-1.2.3", "99999999999999999999.0"]
        {
            assert!(is_wrong(version), "{version}");
        }
    }
}
