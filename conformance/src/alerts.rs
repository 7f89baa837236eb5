//! Alert rules on figures of real members, judged by Prometheus' own tool.
//!
//! Three members are scraped while all is well, then with one and with two of them killed. A
//! second of theirs stands for a minute of the rules, so half an hour takes half a minute: what is
//! asked of quantiles stays the same, and rates only become smaller. What cannot be made to happen
//! here (a disk that takes seconds, a store of gigabytes) is written over the figures of the good
//! times.

mod recording;

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

pub use recording::Recording;

use crate::cluster::{Cluster, MEMBERS};
use crate::http::ask;

/// Scrapes of each phase: longer than any rule waits.
pub const TICKS: usize = 27;
/// Between two scrapes. Five of them are more than the five seconds between two round trips.
const TICK: Duration = Duration::from_millis(1200);

/// What a request takes on a machine that has time for it, many times over.
const SLOW: Duration = Duration::from_millis(100);
/// The alerts that are about time.
const ABOUT_TIME: &str = "etcdGRPCRequestsSlow|etcdHigh(Commit|Fsync)Durations|etcdMember.*Slow";

/// What was recorded for a while, and what the rules should make of it at the end.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    /// What fires.
    pub alerts: &'static [Alert],
    /// Whether the machine was so busy that the client saw slow requests, too: then rules that
    /// find delays are right, and are not asked.
    pub slow: bool,
}

/// An alert by name and severity.
pub type Alert = (&'static str, &'static str);

/// What fires when one of three members is gone for long.
pub const ONE_DOWN: &[Alert] = &[("etcdMembersDown", "warning")];
/// What fires when two are gone, and clients go on asking.
pub const TWO_DOWN: &[Alert] = &[
    ("etcdHighNumberOfFailedGRPCRequests", "critical"),
    ("etcdHighNumberOfFailedGRPCRequests", "warning"),
    ("etcdInsufficientMembers", "critical"),
    ("etcdMembersDown", "warning"),
    ("etcdNoLeader", "critical"),
];
/// What fires when all members are there, and everything else is wrong.
pub const OVERWRITTEN: &[Alert] = &[
    ("etcdDatabaseHighFragmentationRatio", "warning"),
    ("etcdDatabaseQuotaLowSpace", "critical"),
    ("etcdExcessiveDatabaseGrowth", "warning"),
    ("etcdGRPCRequestsSlow", "critical"),
    ("etcdHighCommitDurations", "warning"),
    ("etcdHighFsyncDurations", "critical"),
    ("etcdHighFsyncDurations", "warning"),
    ("etcdHighNumberOfFailedProposals", "warning"),
    ("etcdHighNumberOfLeaderChanges", "warning"),
    ("etcdMemberCommunicationSlow", "warning"),
];

/// A request that needs a majority.
const READ: &str = r#"{"key":"YQ=="}"#;

/// Scrapes the members for one phase while clients ask those that are `up`. Gives whether more
/// than one of the requests was slow.
pub async fn record(
    cluster: &Cluster,
    up: &[usize],
    serving: bool,
    recording: &mut Recording,
) -> anyhow::Result<bool> {
    let mut slow = 0;
    for _ in 0..TICKS {
        for &at in up {
            let port = cluster.members()[at].client_port;
            let began = Instant::now();
            if serving {
                ask(port, "POST", "/v3/kv/put", r#"{"key":"YQ==","value":"YQ=="}"#)?;
                ask(port, "POST", "/v3/kv/range", READ)?;
            } else {
                refused_for_want_of_a_leader(port)?;
            }
            slow += usize::from(began.elapsed() > SLOW);
        }
        let mut pages = Vec::new();
        for at in 0..MEMBERS {
            let port = cluster.members()[at].client_port;
            let page = up.contains(&at).then(|| ask(port, "GET", "/metrics", ""));
            let page = page.transpose()?.map(|answer| answer.body);
            pages.push((format!("m{}", at + 1), page));
        }
        recording.tick(&pages)?;
        tokio::time::sleep(TICK).await;
    }
    if slow > 1 {
        println!("{slow} requests took over {SLOW:?}: no alert about time is asked of this phase");
    }
    Ok(slow > 1)
}

/// Asks as clients do that would rather hear at once.
fn refused_for_want_of_a_leader(port: u16) -> anyhow::Result<()> {
    let path = "/v3/kv/range";
    let answer =
        crate::http::ask_with(port, "POST", path, "grpc-metadata-hasleader: true\r\n", READ)?;
    if answer.status == 503 {
        return Ok(());
    }
    bail!("without a leader a read is answered with {answer:?}")
}

/// Says whether the rules fire what they should at the end of each of the phases.
pub fn judge(
    promtool: &Path,
    rules: &Path,
    recording: &Recording,
    phases: &[Phase],
    folder: &Path,
) -> anyhow::Result<()> {
    let rules = rules.canonicalize()?;
    let mut test = format!(
        "rule_files: [{}]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n{}  \
         promql_expr_test:\n",
        rules.display(),
        recording.series()
    );
    for (at, phase) in phases.iter().enumerate() {
        let end = (at + 1) * TICKS - 1;
        let left_out = if phase.slow { ABOUT_TIME } else { "" };
        write!(
            test,
            "  - expr: group by (alertname, severity) \
             (ALERTS{{alertstate=\"firing\", alertname!~\"{left_out}\"}})\n    \
             eval_time: {end}m\n    exp_samples:\n"
        )?;
        for (name, severity) in phase.alerts {
            let labels = format!("{{alertname=\"{name}\", severity=\"{severity}\"}}");
            writeln!(test, "    - labels: '{labels}'\n      value: 1")?;
        }
    }
    let file = folder.join("alerts-test.yaml");
    std::fs::write(&file, test)?;
    run(Command::new(promtool).args(["test", "rules"]).arg(&file))
}

/// Whether Prometheus can read a page; its opinion of etcd's names is not asked.
pub fn readable(promtool: &Path, page: &str, folder: &Path) -> anyhow::Result<()> {
    const ONLY_STYLE: i32 = 3;
    let file = folder.join("metrics.txt");
    std::fs::write(&file, page)?;
    let input = std::fs::File::open(&file)?;
    let output = Command::new(promtool).args(["check", "metrics"]).stdin(input).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.starts_with("synod_")).collect();
    if !matches!(output.status.code(), Some(0 | ONLY_STYLE)) || !ours.is_empty() {
        bail!("promtool check metrics: {}, {ours:#?}: {said}", output.status);
    }
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    if output.status.success() {
        return Ok(());
    }
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    bail!("{command:?}: {}\n{out}\n{err}", output.status)
}

/// Families that both have with different types.
#[must_use]
pub fn other_types(etcd: &str, synod: &str) -> Vec<String> {
    let types = |page: &str| -> std::collections::BTreeMap<String, String> {
        let lines = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        lines.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
    };
    let ours = types(synod);
    let both = types(etcd).into_iter().filter_map(|(name, kind)| {
        let other = ours.get(&name)?;
        (*other != kind).then(|| format!("{name} is a {kind} in etcd, a {other} here"))
    });
    both.collect()
}
