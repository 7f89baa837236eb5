//! The command-line client: what needs processes and streams, played from `scenarios.txt`.

use anyhow::ensure;
use bytes::Bytes;
use synod_etcd::proto::etcdserverpb::PutRequest;

use super::pair::{Pair, Programs};
use super::play::{IN_VAIN, play};
use super::report::{Test, Verdict};
use super::scenario::parse;
use crate::compare::Side;

/// Plays all scenarios, or those whose name contains a text, on both.
pub async fn run(programs: &Programs, only: Option<&str>) -> anyhow::Result<Vec<Test>> {
    let Pair { etcd, synod } = programs.start(&[]).await?;
    let mut etcd = Side::new(etcd, &programs.etcdctl).await?;
    let mut synod = Side::new(synod, &programs.etcdctl).await?;
    let scenarios = parse(include_str!("../../scenarios.txt"))?;
    let mut tests = Vec::new();
    let wanted = |name: &str| only.is_none_or(|only| name.contains(only));
    for scenario in scenarios.iter().filter(|scenario| wanted(&scenario.name)) {
        let aligned = align(&mut etcd, &mut synod).await;
        let (mut etcd, synod) = tokio::try_join!(
            play(scenario, &mut etcd, &programs.folder),
            play(scenario, &mut synod, &programs.folder)
        )?;
        if let Err(error) = aligned {
            etcd.push_str(&format!("could not align the revisions before: {error:#}\n"));
        }
        let verdict = if etcd.contains(IN_VAIN) {
            let synod = "this scenario does not even work with etcd".to_owned();
            Verdict::Differs { etcd, synod }
        } else if etcd == synod {
            Verdict::Same
        } else {
            Verdict::Differs { etcd, synod }
        };
        tests.push(Test { name: scenario.name.clone(), verdict });
    }
    Ok(tests)
}

/// Lets the store that is behind catch up in revisions, so that one difference does not become one
/// in each scenario after it.
async fn align(etcd: &mut Side, synod: &mut Side) -> anyhow::Result<()> {
    const APART_MAX: i64 = 50_000;
    let (one, other) = tokio::try_join!(etcd.settle(0), synod.settle(0))?;
    ensure!((one - other).abs() <= APART_MAX, "etcd is at {one}, Synod at {other}");
    let behind = if one < other { etcd } else { synod };
    let mut client = behind.client(0);
    for _ in 0..(one - other).abs() {
        let key = Bytes::from_static(b"aligned");
        client.put(PutRequest { key, ..PutRequest::default() }).await?;
    }
    Ok(())
}
