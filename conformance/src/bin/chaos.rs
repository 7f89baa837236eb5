//! `chaos`: real members killed under load and amid snapshots, failover and leases measured, bad
//! input sent.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use bytes::Bytes;
use clap::{Parser, Subcommand};
use conformance::check::check;
use conformance::cluster::{Cluster, MEMBERS, Program, connect};
use conformance::failover::{after_kill, after_stop, median};
use conformance::history::{Call, Outcome};
use conformance::leases::Plan;
use conformance::load::{Load, chronicle};
use conformance::snapshots;
use conformance::{bad_input, floods};
use synod_etcd::proto::etcdserverpb::PutRequest;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;

/// Start three real members and make trouble.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program to examine; a file called `etcd` is started as etcd.
    #[arg(long, default_value = "target/release/synod")]
    synod: PathBuf,
    /// Where the members' folders are made.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
    #[command(subcommand)]
    trouble: Trouble,
}

#[derive(Debug, Subcommand)]
enum Trouble {
    /// Kill and restart members in turn under load, and check what the clients saw.
    History {
        /// How many kills; every second one hits the leader.
        #[arg(long, default_value_t = 20)]
        rounds: usize,
        /// How many clients write and read meanwhile.
        #[arg(long, default_value_t = 16)]
        clients: usize,
    },
    /// Measure how long writes wait when the leader is killed or stopped.
    Failover {
        /// How often each.
        #[arg(long, default_value_t = 10)]
        rounds: usize,
        /// Fail if the median after SIGKILL is longer, in milliseconds.
        #[arg(long)]
        max_after_kill_ms: Option<u64>,
        /// Fail if any write at SIGTERM waits longer, in milliseconds.
        #[arg(long)]
        max_after_stop_ms: Option<u64>,
    },
    /// Let very many leases come due at a steady rate, kill the leader meanwhile, and measure how
    /// late they end.
    Leases {
        /// How many leases.
        #[arg(long, default_value_t = 1_000_000)]
        count: u64,
        /// How many come due in a second.
        #[arg(long, default_value_t = 10_000)]
        per_second: u64,
        /// How many seconds granting may take [default: one for each 2,000, and 10 more].
        #[arg(long)]
        granting: Option<u64>,
        /// Fail if any lease ends later, in milliseconds.
        #[arg(long, default_value_t = 2000)]
        max_late_ms: u64,
        /// Let the leader live.
        #[arg(long)]
        spare_leader: bool,
    },
    /// Let a member lag beyond the log, and kill it, and who sends to it, amid its snapshot.
    Snapshot {
        /// How many keys of 1 MiB it lacks.
        #[arg(long, default_value_t = 400)]
        keys: usize,
    },
    /// Send what is malformed, too large or not allowed, and see that members go on.
    BadInput,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut program = Program::by_file_name(&arguments.synod);
    if let Trouble::Snapshot { .. } = arguments.trouble {
        program = program.with(&snapshots::FLAGS);
    }
    let mut cluster = Cluster::start(&program, &arguments.folder).await?;
    println!("three members of {} serve", program.name);
    let passed = match arguments.trouble {
        Trouble::History { rounds, clients } => history(&mut cluster, rounds, clients).await?,
        Trouble::Failover { rounds, max_after_kill_ms, max_after_stop_ms } => {
            failover(&mut cluster, rounds, max_after_kill_ms, max_after_stop_ms).await?
        }
        Trouble::Leases { count, per_second, granting, max_late_ms, spare_leader } => {
            let granting = Duration::from_secs(granting.unwrap_or(count / 2000 + 10));
            let key_every = (count / KEYS_OF_LEASES).max(1);
            let plan =
                Plan { leases: count, per_second, granting, key_every, kills: !spare_leader };
            leases(&mut cluster, plan, Duration::from_millis(max_late_ms)).await?
        }
        Trouble::Snapshot { keys } => {
            let caught = snapshots::run(&mut cluster, keys).await?;
            let snapshots::Caught { keys, took, hash, revision } = caught;
            println!(
                "{keys} MiB behind, it held everything {took:?} after its sender was killed; all \
                 members have hash {hash:08x} at revision {revision}"
            );
            true
        }
        Trouble::BadInput => bad(&mut cluster, &arguments.folder).await?,
    };
    println!("{}", if passed { "passed" } else { "FAILED" });
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn history(cluster: &mut Cluster, rounds: usize, clients: usize) -> anyhow::Result<bool> {
    let urls: Vec<String> = (0..MEMBERS).map(|at| cluster.url(at)).collect();
    let load = Load::start(&urls, clients)?;
    for round in 0..rounds {
        let leader = cluster.leader().await?;
        let victim = if round % 2 == 0 { leader } else { round / 2 % MEMBERS };
        let role = if victim == leader { "the leader" } else { "a follower" };
        cluster.kill_member(victim)?;
        let gap = writes_go_on(&load).await?;
        // Long enough that the others write on without it, and that it has to catch up.
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.start_member(victim)?;
        cluster.wait_ready(victim).await?;
        writes_go_on(&load).await?;
        let (member, number, written) = (victim + 1, round + 1, load.written());
        println!(
            "{number:>3}: killed {member}, {role}; next write after {gap:?}; {written} written"
        );
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let history = load.stop().await?;
    let refused = refused_without_quorum(cluster).await?;
    println!("with two members down: {refused}");
    let mut chronicles = Vec::new();
    for url in &urls {
        chronicles.push(chronicle(url).await?);
    }
    summarize(&history);
    let violations = check(&history, &chronicles);
    violations.iter().for_each(|violation| println!("VIOLATION: {violation}"));
    Ok(violations.is_empty() && something_happened(&history))
}

/// Waits until ten more writes are acknowledged; tells how long the first of them took.
async fn writes_go_on(load: &Load) -> anyhow::Result<Duration> {
    const WAIT_MAX: Duration = Duration::from_secs(20);
    let (began, before) = (Instant::now(), load.written());
    let mut first = None;
    while began.elapsed() < WAIT_MAX {
        let more = load.written() - before;
        if more > 0 {
            first.get_or_insert_with(|| began.elapsed());
        }
        if let Some(first) = first.filter(|_| more >= 10) {
            return Ok(first);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bail!("no ten writes in {WAIT_MAX:?} with a quorum up")
}

/// Two members down: a write is refused in etcd's words; one returns: a write succeeds.
async fn refused_without_quorum(cluster: &mut Cluster) -> anyhow::Result<String> {
    const WORDS: [&str; 3] =
        ["etcdserver: request timed out", "etcdserver: no leader", "etcdserver: leader changed"];
    let leader = cluster.leader().await?;
    let last = (leader + 1) % MEMBERS;
    for at in (0..MEMBERS).filter(|&at| at != last) {
        cluster.kill_member(at)?;
    }
    let began = Instant::now();
    let answer = write(cluster, last, Duration::from_secs(30)).await;
    let waited = began.elapsed();
    let Err(status) = answer else { bail!("a write without a quorum was acknowledged") };
    let text = status.message().to_owned();
    ensure!(
        WORDS.iter().any(|words| text.contains(words)),
        "a write without a quorum was refused with {:?}: {text}",
        status.code()
    );
    cluster.start_member(leader)?;
    cluster.wait_ready(leader).await?;
    for at in [last, leader] {
        write(cluster, at, Duration::from_secs(10)).await?;
    }
    let third = (leader + 2) % MEMBERS;
    cluster.start_member(third)?;
    cluster.wait_ready(third).await?;
    Ok(format!("refused after {waited:?}: {text}; with one back, writes go on"))
}

async fn write(cluster: &Cluster, at: usize, patience: Duration) -> Result<(), tonic::Status> {
    let channel = connect(&cluster.url(at), patience).await;
    let channel = channel.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let (key, value) = (Bytes::from_static(b"quorum"), Bytes::from_static(b"x"));
    KvClient::new(channel).put(PutRequest { key, value, ..PutRequest::default() }).await?;
    Ok(())
}

fn summarize(history: &[Call]) {
    let count = |is: fn(&Outcome) -> bool| history.iter().filter(|call| is(&call.outcome)).count();
    let written = count(|outcome| matches!(outcome, Outcome::Written { .. }));
    let seen = count(|outcome| matches!(outcome, Outcome::Seen { .. }));
    let unknown = count(|outcome| matches!(outcome, Outcome::Unknown { .. }));
    println!("{written} writes and {seen} reads were answered, {unknown} calls were not");
    let mut errors = std::collections::BTreeMap::<&str, usize>::new();
    for call in history {
        if let Outcome::Unknown { error } = &call.outcome {
            *errors.entry(error).or_default() += 1;
        }
    }
    let mut errors: Vec<(&str, usize)> = errors.into_iter().collect();
    errors.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    for (error, count) in errors.into_iter().take(8) {
        println!("{count:>8} × {error}");
    }
}

/// A run in which nothing was tried has shown nothing.
fn something_happened(history: &[Call]) -> bool {
    let reads =
        history.iter().filter(|call| matches!(&call.outcome, Outcome::Seen { found: Some(_), .. }));
    let writes = history.iter().filter(|call| matches!(call.outcome, Outcome::Written { .. }));
    let enough = reads.count() >= 100 && writes.count() >= 100;
    if !enough {
        println!("too little happened to tell");
    }
    enough
}

async fn failover(
    cluster: &mut Cluster,
    rounds: usize,
    max_after_kill_ms: Option<u64>,
    max_after_stop_ms: Option<u64>,
) -> anyhow::Result<bool> {
    let killed = after_kill(cluster, rounds).await?;
    println!("leader killed: next write after {killed:?}");
    let stopped = after_stop(cluster, rounds).await?;
    println!("leader stopped: longest write {stopped:?}");
    let (killed, longest) = (median(&killed)?, stopped.into_iter().max().unwrap_or_default());
    println!("median after SIGKILL {killed:?}; longest write at SIGTERM {longest:?}");
    let within = |time: Duration, limit: Option<u64>| {
        limit.is_none_or(|limit| time <= Duration::from_millis(limit))
    };
    Ok(within(killed, max_after_kill_ms) && within(longest, max_after_stop_ms))
}

async fn leases(cluster: &mut Cluster, plan: Plan, late_max: Duration) -> anyhow::Result<bool> {
    let expired = conformance::leases::run(cluster, plan).await?;
    println!(
        "{} leases granted in {:?}, {:.0} bytes of each member's memory for each",
        expired.granted, expired.granting, expired.lease_bytes
    );
    let (half, most, max) = (expired.late_at(50), expired.late_at(99), expired.late_at(100));
    println!(
        "of {} with a key: late by p50 {half:?}, p99 {most:?}, at most {max:?}; {} early, {} \
         missing, {} leases left",
        expired.late.len(),
        expired.early,
        expired.missing,
        expired.left
    );
    let none = expired.early == 0 && expired.missing == 0 && expired.left == 0;
    Ok(none && max <= late_max && expired.granted == plan.leases)
}

/// So many leases have a key, by which their end is seen.
const KEYS_OF_LEASES: u64 = 10_000;

async fn bad(cluster: &mut Cluster, folder: &Path) -> anyhow::Result<bool> {
    let mut passed = true;
    let mut findings = bad_input::run(cluster).await?;
    if cluster.program().name == "synod" {
        findings.extend(floods::run(cluster.program(), folder).await?);
    }
    for finding in findings {
        match finding.outcome {
            Ok(answer) => println!("ok     {}: {answer}", finding.input),
            Err(error) => {
                println!("WRONG  {}: {error:#}", finding.input);
                passed = false;
            }
        }
    }
    Ok(passed)
}
