//! From Synod to etcd and back, and the other way round, by a snapshot each time.
//!
//! A cluster is filled and saved with etcd's client; three members of the other program are
//! restored from that file with that program's own tool, and everything must be as it was: keys
//! with all their fields, now and at revisions before, leases, users with their passwords, roles.
//! Then more is written, and the way goes on to the first program. So the file in the middle was
//! written by one and changed by the other.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::cluster::{Cluster, MEMBERS, Program};

mod contents;
mod session;

use contents::Contents;
use session::{PASSWORD, Session, USER};

/// The programs that take part.
#[derive(Clone, Debug)]
pub struct Tools {
    /// A real etcd.
    pub etcd: PathBuf,
    /// Its client, of the same release.
    pub etcdctl: PathBuf,
    /// The program to examine.
    pub synod: PathBuf,
    /// Where folders are made.
    pub folder: PathBuf,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Etcd,
    Synod,
}

/// The longest wait for a cluster to serve.
const READY_MAX: Duration = Duration::from_secs(120);

/// Goes both ways, and gives what is not as it was.
pub async fn compare(tools: &Tools) -> anyhow::Result<Vec<String>> {
    let mut differences = Vec::new();
    for way in [[Kind::Synod, Kind::Etcd, Kind::Synod], [Kind::Etcd, Kind::Synod, Kind::Etcd]] {
        differences.extend(go(tools, way).await.with_context(|| format!("{way:?}"))?);
    }
    Ok(differences)
}

async fn go(tools: &Tools, way: [Kind; 3]) -> anyhow::Result<Vec<String>> {
    let folder = tempfile::Builder::new().prefix("migration-").tempdir_in(&tools.folder)?;
    let mut differences = Vec::new();
    let mut cluster = Cluster::start(&tools.program(way[0]), &tools.folder).await?;
    for (hop, kind) in way.into_iter().enumerate() {
        // Auth is enabled by the second: that the first password is right there says that hashes
        // came over, and the third must ask for passwords at once.
        let mut session = Session::open(&mut cluster, hop == 2).await?;
        if hop == 0 {
            session.make_users().await?;
        } else if hop == 1 {
            session.enable_auth().await?;
        }
        session.write(hop).await?;
        let before = Contents::read(&session).await?;
        let Some(&next) = way.get(hop + 1) else { break };
        let file = folder.path().join(format!("snapshot{hop}"));
        tools.save(&cluster, &file, hop > 0)?;
        differences.extend(tools.compare_status(&file)?);
        let restored = Cluster::prepare(&tools.program(next), &tools.folder)?;
        // Ends the members of before.
        cluster = restored;
        for at in 0..MEMBERS {
            tools.restore(next, &cluster, at, &file)?;
            cluster.start_member(at)?;
        }
        let session = Session::open(&mut cluster, hop > 0).await?;
        let after = Contents::read(&session).await?;
        let told = before.differences(&after);
        differences.extend(told.into_iter().map(|text| format!("{kind:?} to {next:?}: {text}")));
    }
    Ok(differences)
}

impl Tools {
    fn program(&self, kind: Kind) -> Program {
        match kind {
            Kind::Etcd => Program::etcd(&self.etcd),
            Kind::Synod => Program::synod(&self.synod),
        }
    }

    fn save(&self, cluster: &Cluster, file: &Path, as_root: bool) -> anyhow::Result<()> {
        let mut words = vec![format!("--endpoints={}", cluster.url(0))];
        if as_root {
            words.push(format!("--user={USER}:{PASSWORD}"));
        }
        words.extend(["snapshot".to_owned(), "save".to_owned(), file.display().to_string()]);
        run(Command::new(&self.etcdctl).env("ETCDCTL_API", "3").args(words)).map(drop)
    }

    /// Makes the folder of a member that does not run yet.
    fn restore(&self, kind: Kind, cluster: &Cluster, at: usize, file: &Path) -> anyhow::Result<()> {
        const FLAGS: [&str; 5] = [
            "--name=",
            "--data-dir=",
            "--initial-cluster=",
            "--initial-cluster-token=",
            "--initial-advertise-peer-urls=",
        ];
        let takes = |flag: &OsString| {
            let flag = flag.to_string_lossy().into_owned();
            FLAGS.iter().any(|known| flag.starts_with(known))
        };
        let (tool, own): (&Path, &[&str]) = match kind {
            Kind::Etcd => (&self.etcdctl, &[]),
            Kind::Synod => (&self.synod, &["--bump-revision=0"]),
        };
        let mut command = Command::new(tool);
        command.env("ETCDCTL_API", "3").args(["snapshot", "restore"]).arg(file).args(own);
        command.args(cluster.arguments(at).into_iter().filter(takes));
        run(&mut command).map(drop)
    }

    /// Whether both tools say the same of a file.
    fn compare_status(&self, file: &Path) -> anyhow::Result<Option<String>> {
        let told = |tool: &Path| -> anyhow::Result<[Value; 4]> {
            let mut command = Command::new(tool);
            command.env("ETCDCTL_API", "3").args(["snapshot", "status", "-w", "json"]).arg(file);
            let value: Value = serde_json::from_str(&run(&mut command)?)?;
            Ok(["hash", "revision", "totalKey", "totalSize"].map(|field| value[field].clone()))
        };
        let (etcd, synod) = (told(&self.etcdctl)?, told(&self.synod)?);
        ensure!(etcd.iter().all(Value::is_number), "etcdctl says {etcd:?}");
        Ok((etcd != synod).then(|| format!("status: etcdctl {etcd:?}, synod {synod:?}")))
    }
}

/// Runs a command that must succeed, and gives what it printed.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
