//! The Python client `etcd3`, run through the tests of its own that lie in its source on PyPI.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::lines;
use super::machine::Machine;
use super::pair::{Programs, sources};
use super::report::{Outcomes, Test, side_by_side};
use crate::cluster::Cluster;
use crate::process::bound_to_us;

const VERSION: &str = "0.12.0";

/// The tests want members with these names.
const MEMBER_NAME: &str = "pifpaf";

/// The tests take about a minute, most of it asleep.
const TESTS_MAX: Duration = Duration::from_secs(240);

/// Runs the tests against both.
pub async fn run(machine: &Machine, programs: &Programs) -> anyhow::Result<Vec<Test>> {
    let requirements = sources().join("python/requirements.txt");
    let python = machine.python("python", &requirements).await?;
    let source = machine.python_source(&python, "etcd3", VERSION).await?;
    let pair = programs.start_named(MEMBER_NAME, &[]).await?;
    let with = |cluster| tests(&python, &source, cluster, &programs.etcdctl);
    let (etcd, synod) = tokio::try_join!(with(&pair.etcd), with(&pair.synod))?;
    Ok(side_by_side(&etcd, &synod))
}

async fn tests(
    python: &Path,
    source: &Path,
    cluster: &Cluster,
    etcdctl: &Path,
) -> anyhow::Result<Outcomes> {
    let ours = sources().join("python");
    let others: Vec<String> =
        cluster.process_ids().into_iter().skip(1).map(|id| id.to_string()).collect();
    let mut command = Command::from(bound_to_us(python));
    command
        .args(["-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-p", "synod_conformance"])
        .arg("tests/test_etcd3.py")
        .current_dir(source)
        .env("PATH", path(&[&ours.join("bin"), parent(etcdctl)])?)
        .env("PYTHONPATH", &ours)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHON_ETCD_HTTP_URL", cluster.url(0))
        .env("TEST_ETCD_VERSION", "v3.4.23")
        .env("CONFORMANCE_MINORITY", others.join(" "));
    lines::run(command, TESTS_MAX, lines::outcomes).await
}

/// A search path in which `first` come first.
fn path(first: &[&Path]) -> anyhow::Result<OsString> {
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let first = first.iter().map(|folder| folder.to_path_buf());
    Ok(std::env::join_paths(first.chain(std::env::split_paths(&usual)))?)
}

fn parent(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}
