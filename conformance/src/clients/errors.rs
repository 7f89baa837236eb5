//! Each error of etcd's table that can be provoked from outside, on both: code and text.
//!
//! One script of requests runs against a real etcd and against Synod; each request stands under the
//! name of the error that it is meant to provoke. What no request can provoke is listed with the
//! reason, so that every error of the table is one or the other.

use std::collections::BTreeMap;

use synod_etcd::EtcdError;

use super::pair::Programs;
use super::provoke::{old_tokens, provoke};
use super::report::{Test, Verdict};

/// What cannot be provoked from outside, and why.
const UNPROVOKED: &[(EtcdError, &str)] = &[
    (EtcdError::InvalidClientApiVersion, "etcd 3.4 looks at no version"),
    (EtcdError::InvalidSortOption, "etcd 3.4 ends its process when it is asked"),
    (EtcdError::PermissionNotGiven, "etcd 3.4 ends its process when it is asked"),
    (EtcdError::WatchCanceled, "only a client that lost its stream makes it"),
    (EtcdError::MemberExists, "needs two members with one id, which clients cannot choose"),
    (EtcdError::MemberNotEnoughStarted, "needs members that never start"),
    (EtcdError::MemberNotLearner, "members are changed elsewhere"),
    (EtcdError::LearnerNotReady, "members are changed elsewhere"),
    (EtcdError::TooManyLearners, "members are changed elsewhere"),
    (EtcdError::NotSupportedForLearner, "needs a learner that runs"),
    (EtcdError::ClusterIdMismatch, "between members only"),
    (EtcdError::TooManyRequests, "needs thousands of requests that are not yet applied"),
    (EtcdError::NotCapable, "needs members of an older version"),
    (EtcdError::Stopped, "a race with the end of the process"),
    (EtcdError::TimeoutLeaderFail, "a race with an election"),
    (EtcdError::TimeoutConnectionLost, "a race with a connection between members"),
    (EtcdError::TimeoutWaitApplied, "needs a member that applies slowly"),
    (EtcdError::Unhealthy, "needs a change of members while one is away"),
    (EtcdError::WrongDowngradeVersionFormat, "etcd 3.4 has no Downgrade"),
    (EtcdError::InvalidDowngradeTargetVersion, "etcd 3.4 has no Downgrade"),
    (EtcdError::ClusterVersionUnavailable, "etcd 3.4 has no Downgrade"),
    (EtcdError::DowngradeInProcess, "etcd 3.4 has no Downgrade"),
    (EtcdError::NoInflightDowngrade, "etcd 3.4 has no Downgrade"),
    (EtcdError::Canceled, "the client's own word"),
    (EtcdError::DeadlineExceeded, "the client's own word"),
];

/// Provokes on both, and tells how many of all errors were.
pub async fn run(programs: &Programs) -> anyhow::Result<Vec<Test>> {
    let mut pair = programs.start(&[]).await?;
    let (mut etcd, mut synod) =
        tokio::try_join!(provoke(&mut pair.etcd), provoke(&mut pair.synod))?;
    let secret = old_tokens::Secret::new(&programs.folder)?;
    let pair = programs.start(&[&secret.flag()]).await?;
    let (of_etcd, of_synod) =
        tokio::try_join!(old_tokens::provoke(&pair.etcd), old_tokens::provoke(&pair.synod))?;
    etcd.extend(of_etcd);
    synod.extend(of_synod);
    let tests: Vec<Test> =
        EtcdError::ALL.iter().filter_map(|&error| test(error, &etcd, &synod)).collect();
    println!(
        "{} of {} errors provoked; src/clients/errors.rs says why not the others",
        etcd.len(),
        EtcdError::ALL.len()
    );
    Ok(tests)
}

/// What requests were answered, by the error that they are meant to provoke.
pub type Answers = BTreeMap<String, String>;

fn test(error: EtcdError, etcd: &Answers, synod: &Answers) -> Option<Test> {
    let name = format!("{error:?}");
    let verdict = match (etcd.get(&name), synod.get(&name)) {
        (None, None) if UNPROVOKED.iter().any(|(known, _)| *known == error) => return None,
        (Some(etcd), Some(synod)) if !etcd.contains(error.text()) => Verdict::Differs {
            etcd: format!("not what was to be provoked: {etcd}"),
            synod: synod.clone(),
        },
        (Some(etcd), Some(synod)) if etcd == synod => Verdict::Same,
        (etcd, synod) => {
            let told = |answer: Option<&String>| {
                answer.map_or_else(|| "neither provoked nor explained".to_owned(), String::clone)
            };
            Verdict::Differs { etcd: told(etcd), synod: told(synod) }
        }
    };
    Some(Test { name, verdict })
}
