//! Side by side: the same load on Synod and on etcd, in turn, on one machine and one disk.
//!
//! The load comes from `synod bench put` for both, so that the measuring costs both the same. The
//! two take turns within each repeat, so that what else the machine does meets both alike. The
//! middle of the repeats counts.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::cluster::{Cluster, MEMBERS};

/// One load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many clients at a time.
    pub clients: u32,
    /// For how many seconds.
    pub seconds: u32,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Writes per second.
    pub per_second: f64,
    /// Half of the writes were faster, in microseconds.
    pub p50_us: f64,
    /// All but one in a hundred were faster.
    pub p99_us: f64,
    /// The members' CPU time per write, in microseconds.
    pub cpu_us: f64,
}

/// Puts the load on a cluster, through all its members.
pub fn measure(synod: &Path, cluster: &Cluster, load: Load) -> anyhow::Result<Measured> {
    let endpoints: Vec<String> = (0..MEMBERS).map(|at| cluster.url(at)).collect();
    let ids: Vec<String> = cluster.process_ids().iter().map(ToString::to_string).collect();
    let output = Command::new(synod)
        .args(["bench", "put", "--json", "--value-size=256"])
        .arg(format!("--endpoints={}", endpoints.join(",")))
        .arg(format!("--clients={}", load.clients))
        .arg(format!("--duration={}s", load.seconds))
        .arg(format!("--server-pids={}", ids.join(",")))
        .output()
        .with_context(|| format!("running {} bench", synod.display()))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "synod bench failed: {complaint}");
    let json: Value =
        serde_json::from_slice(&output.stdout).context("the output of synod bench")?;
    read(&json)
}

fn read(json: &Value) -> anyhow::Result<Measured> {
    ensure!(json["errors"] == 0, "{} writes failed: {}", json["errors"], json["first_error"]);
    let number = |value: &Value, name: &str| {
        value.as_f64().with_context(|| format!("synod bench gives no {name}"))
    };
    Ok(Measured {
        per_second: number(&json["ops_per_second"], "ops_per_second")?,
        p50_us: number(&json["latency_us"]["p50"], "p50")?,
        p99_us: number(&json["latency_us"]["p99"], "p99")?,
        cpu_us: number(&json["server_cpu_us_per_op"], "server_cpu_us_per_op")?,
    })
}

/// The middle of each number by itself.
pub fn median(all: &[Measured]) -> anyhow::Result<Measured> {
    let middle = |number: fn(&Measured) -> f64| {
        let mut sorted: Vec<f64> = all.iter().map(number).collect();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().context("nothing was measured")
    };
    Ok(Measured {
        per_second: middle(|one| one.per_second)?,
        p50_us: middle(|one| one.p50_us)?,
        p99_us: middle(|one| one.p99_us)?,
        cpu_us: middle(|one| one.cpu_us)?,
    })
}

/// A table of both sides' repeats and medians, with the ratio of the medians.
pub fn table(load: Load, etcd: &[Measured], synod: &[Measured]) -> anyhow::Result<String> {
    let Load { clients, seconds } = load;
    let mut text = format!("## {clients} clients, {seconds} s, values of 256 B\n\n");
    text.push_str("| | puts/s | p50, ms | p99, ms | server CPU per put, µs |\n");
    text.push_str("|---|---:|---:|---:|---:|\n");
    for (name, all) in [("etcd", etcd), ("synod", synod)] {
        for (at, one) in all.iter().enumerate() {
            row(&mut text, &format!("{name}, run {}", at + 1), one)?;
        }
    }
    let (etcd, synod) = (median(etcd)?, median(synod)?);
    row(&mut text, "**etcd, median**", &etcd)?;
    row(&mut text, "**synod, median**", &synod)?;
    let ratio = |number: fn(&Measured) -> f64| number(&synod) / number(&etcd);
    writeln!(
        text,
        "| **synod ÷ etcd** | **{:.2}** | **{:.2}** | **{:.2}** | **{:.2}** |",
        ratio(|one| one.per_second),
        ratio(|one| one.p50_us),
        ratio(|one| one.p99_us),
        ratio(|one| one.cpu_us),
    )?;
    Ok(text)
}

fn row(text: &mut String, name: &str, one: &Measured) -> std::fmt::Result {
    let Measured { per_second, p50_us, p99_us, cpu_us } = one;
    let (p50, p99) = (p50_us / 1000.0, p99_us / 1000.0);
    writeln!(text, "| {name} | {per_second:.0} | {p50:.3} | {p99:.3} | {cpu_us:.0} |")
}

/// What the numbers were measured on.
pub fn machine(synod: &Path, etcd: &Path, folder: &Path) -> anyhow::Result<String> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let models: Vec<&str> =
        cpus.lines().filter_map(|line| line.strip_prefix("model name\t: ")).collect();
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let memory = memory.lines().next().unwrap_or_default().replace("MemTotal:", "");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut text = String::new();
    writeln!(
        text,
        "- machine: {} × {}, memory {}",
        models.len(),
        models.first().unwrap_or(&"?"),
        memory.trim()
    )?;
    writeln!(text, "- kernel: Linux {}", kernel.trim())?;
    writeln!(
        text,
        "- disk: {}",
        said(Command::new("findmnt").args(["-n", "-o", "SOURCE,FSTYPE", "-T"]).arg(folder))?
    )?;
    writeln!(text, "- date: {}", said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?)?;
    writeln!(text, "- etcd: {}", said(Command::new(etcd).arg("--version"))?)?;
    writeln!(text, "- synod: {}", said(Command::new(synod).arg("--version"))?)?;
    Ok(text)
}

/// The first line a command prints.
fn said(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or("unknown").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(per_second: f64) -> Measured {
        Measured { per_second, p50_us: 500.0, p99_us: 900.0, cpu_us: 100.0 }
    }

    #[test]
    fn the_table_tells_runs_medians_and_ratio() {
        let etcd = [5.0, 1.0, 3.0].map(measured);
        let synod = [6.0, 9.0, 7.0].map(measured);
        let table = table(Load { clients: 64, seconds: 5 }, &etcd, &synod).unwrap();
        assert!(table.contains("| etcd, run 2 | 1 | 0.500 | 0.900 | 100 |"), "{table}");
        assert!(table.contains("| **synod, median** | 7 |"), "{table}");
        assert!(table.contains("| **synod ÷ etcd** | **2.33** | **1.00** |"), "{table}");
    }

    #[test]
    fn failed_writes_are_no_measurement() {
        let json = serde_json::json!({ "errors": 3, "first_error": "no leader" });
        assert!(read(&json).unwrap_err().to_string().contains("3 writes failed"));
    }
}
