//! The JavaScript client `etcd3`. Its package carries no tests, so these are our own.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::control::Control;
use super::lines;
use super::machine::Machine;
use super::pair::Programs;
use super::report::{Outcomes, Test, side_by_side};
use crate::cluster::Cluster;
use crate::process::bound_to_us;

/// The tests take less than a minute.
const TESTS_MAX: Duration = Duration::from_secs(180);

/// Runs the tests against both.
pub async fn run(machine: &Machine, programs: &Programs) -> anyhow::Result<Vec<Test>> {
    let folder = machine.npm().await?;
    let mut pair = programs.start(&[]).await?;
    let (etcd, synod) =
        tokio::try_join!(tests(&folder, &mut pair.etcd), tests(&folder, &mut pair.synod))?;
    Ok(side_by_side(&etcd, &synod))
}

async fn tests(folder: &Path, cluster: &mut Cluster) -> anyhow::Result<Outcomes> {
    let control = Control::new().await?;
    let mut command = Command::from(bound_to_us(Path::new("/usr/bin/env")));
    command
        .args([
            "node",
            "--test",
            "--test-concurrency=1",
            "--test-timeout=60000",
            "--test-force-exit",
            "--test-reporter=./reporter.mjs",
        ])
        .args(["client.test.mjs", "watch.test.mjs", "lease.test.mjs", "auth.test.mjs"])
        .arg("members.test.mjs")
        .current_dir(folder)
        .env("CONFORMANCE_HOSTS", cluster.urls())
        .env("CONFORMANCE_CONTROL", control.port()?.to_string());
    tokio::select! {
        outcomes = lines::run(command, TESTS_MAX, lines::outcomes) => outcomes,
        ended = control.serve(cluster) => {
            ended?;
            anyhow::bail!("the control of members ended");
        }
    }
}
