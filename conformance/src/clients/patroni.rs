//! Patroni: three nodes of PostgreSQL that use the store to agree on their primary.
//!
//! The scenario and its checks are Python, beside Patroni itself: `conformance/patroni`. Here the
//! store is started, and its members are killed when the scenario says so.

use std::os::unix::fs::chown;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal};
use tokio::process::Command;

use super::control::Control;
use super::lines;
use super::machine::{Machine, UNPRIVILEGED, is_root};
use super::pair::{Programs, sources};
use super::report::{Outcome, Outcomes, Test, Verdict};
use crate::cluster::Cluster;
use crate::process::bound_to_us;

/// Where Debian puts the programs.
const POSTGRESQL: &str = "/usr/lib/postgresql/15/bin";

/// The scenario takes about three minutes.
const SCENARIO_MAX: Duration = Duration::from_secs(420);

/// Runs the scenario with Synod as the store. What it checks holds or not; nothing is compared.
pub async fn run(machine: &Machine, programs: &Programs) -> anyhow::Result<Vec<Test>> {
    let postgres = format!("{POSTGRESQL}/postgres");
    machine.packages(&[(&postgres, "postgresql-15"), ("setpriv", "util-linux")]).await?;
    let requirements = sources().join("patroni/requirements.txt");
    let python = machine.python("patroni", &requirements).await?;
    let mut cluster = Cluster::start(&programs.synod, &programs.folder).await?;
    let outcomes = scenario(&python, &programs.folder, &mut cluster).await?;
    let tests =
        outcomes.into_iter().map(|(name, outcome)| Test { name, verdict: verdict(outcome) });
    Ok(tests.collect())
}

fn verdict(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Failed(synod) => Verdict::Differs { etcd: "has to pass".to_owned(), synod },
        Outcome::Passed | Outcome::Skipped => Verdict::Same,
    }
}

async fn scenario(python: &Path, folder: &Path, cluster: &mut Cluster) -> anyhow::Result<Outcomes> {
    let folder = tempfile::Builder::new().prefix("patroni-").tempdir_in(folder)?;
    // Its files are copied, since whoever runs PostgreSQL may not see this repository.
    for file in ["scenario.py", "observer.py"] {
        std::fs::copy(sources().join("patroni").join(file), folder.path().join(file))?;
    }
    let mut command = Command::from(bound_to_us(Path::new("/usr/bin/setpriv")));
    if is_root() {
        let (user, group) = ids(UNPRIVILEGED)?;
        chown(folder.path(), Some(user), Some(group))?;
        command.args([format!("--reuid={user}"), format!("--regid={group}")]);
        command.arg("--init-groups");
    }
    let control = Control::new().await?;
    command
        .args(["--pdeathsig", "TERM", "--"])
        .arg(python)
        .arg("scenario.py")
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env("LC_ALL", "C.UTF-8")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("CONFORMANCE_HOSTS", cluster.urls())
        .env("CONFORMANCE_CONTROL", control.port()?.to_string())
        .env("CONFORMANCE_POSTGRESQL", POSTGRESQL);
    let outcomes = tokio::select! {
        outcomes = lines::run(command, SCENARIO_MAX, lines::outcomes) => outcomes,
        ended = control.serve(cluster) => ended.and(Err(anyhow::anyhow!("the control ended"))),
    };
    end_postgresql(folder.path());
    outcomes
}

/// Ends what a scenario that was cut short has left: PostgreSQL outlives the Patroni that started
/// it.
fn end_postgresql(folder: &Path) {
    for node in ["n1", "n2", "n3"] {
        let file = folder.join(node).join("data/postmaster.pid");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let id = text.lines().next().and_then(|line| line.parse().ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            // Immediate shutdown, in PostgreSQL's own words. It may be gone already.
            let _ = rustix::process::kill_process(id, Signal::QUIT);
        }
    }
}

/// A user's number and group, as the machine knows them.
fn ids(name: &str) -> anyhow::Result<(u32, u32)> {
    let text = std::fs::read_to_string("/etc/passwd")?;
    let entry = text.lines().find(|line| line.split(':').next() == Some(name));
    let entry = entry.with_context(|| format!("there is no user {name}"))?;
    let fields: Vec<&str> = entry.split(':').collect();
    Ok((fields.get(2).unwrap_or(&"").parse()?, fields.get(3).unwrap_or(&"").parse()?))
}
