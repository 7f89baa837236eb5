//! Clients for Python, run through the tests of their own that lie in their sources on PyPI:
//! `etcd3` and `aetcd` speak gRPC, `etcd3gw` and `tooz` the JSON gateway.

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

/// A client, and how its tests are run.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    package: &'static str,
    version: &'static str,
    /// The environment that it runs in, and the file that says what is in it.
    environment: (&'static str, &'static str),
    /// What pytest is given beyond the usual: our plugin for this client, and its tests.
    arguments: &'static [&'static str],
}

/// Made of pieces of their time: see its requirements.
pub const ETCD3: Client = Client {
    package: "etcd3",
    version: "0.12.0",
    environment: ("python", "etcd3.txt"),
    arguments: &["-p", "synod_etcd3", "tests/test_etcd3.py"],
};

/// The asynchronous one.
pub const AETCD: Client = Client {
    package: "aetcd",
    version: "1.0.0",
    environment: ("python-others", "others.txt"),
    arguments: &["-p", "synod_aetcd", "-o", "addopts=", "--with-cluster", "tests/integration"],
};

/// The one of OpenStack, which speaks JSON.
pub const ETCD3GW: Client = Client {
    package: "etcd3gw",
    version: "2.7.0",
    environment: ("python-others", "others.txt"),
    arguments: &["etcd3gw/tests/test_etcd3gw.py"],
};

/// OpenStack's coordination: groups, locks and leaders, through `etcd3gw`. The test that is left
/// out waits for an event as long as it takes to come on a machine that does nothing else.
pub const TOOZ: Client = Client {
    package: "tooz",
    version: "9.1.0",
    environment: ("python-others", "others.txt"),
    arguments: &[
        "--deselect",
        "tooz/tests/test_coordination.py::TestAPI::test_watch_join_group_disappear",
        "tooz/tests/test_coordination.py",
    ],
};

/// The tests want members with these names.
const MEMBER_NAME: &str = "pifpaf";

/// The tests take about a minute and a half, most of it asleep.
const TESTS_MAX: Duration = Duration::from_secs(240);

/// Runs a client's tests against both.
pub async fn run(
    machine: &Machine,
    programs: &Programs,
    client: Client,
) -> anyhow::Result<Vec<Test>> {
    let (environment, file) = client.environment;
    let requirements = sources().join("python").join(file);
    let python = machine.python(environment, &requirements).await?;
    let source = machine.python_source(&python, client.package, client.version).await?;
    let pair = programs.start_named(MEMBER_NAME, &[]).await?;
    let with = |cluster| tests(&python, &source, client.arguments, cluster, &programs.etcdctl);
    let (etcd, synod) = tokio::try_join!(with(&pair.etcd), with(&pair.synod))?;
    Ok(side_by_side(&etcd, &synod))
}

async fn tests(
    python: &Path,
    source: &Path,
    arguments: &[&str],
    cluster: &Cluster,
    etcdctl: &Path,
) -> anyhow::Result<Outcomes> {
    let ours = sources().join("python");
    let others: Vec<String> =
        cluster.process_ids().into_iter().skip(1).map(|id| id.to_string()).collect();
    let (url, port) = (cluster.url(0), cluster.members()[0].client_port);
    let mut command = Command::from(bound_to_us(python));
    command
        .args(["-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-p", "synod_outcomes"])
        .args(arguments)
        .current_dir(source)
        .env("PATH", path(&[&ours.join("bin"), parent(etcdctl)])?)
        .env("PYTHONPATH", &ours)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHON_ETCD_HTTP_URL", &url)
        .env("TEST_ETCD_HTTP_URL", &url)
        .env("TOOZ_TEST_HTTP_URL", &url)
        .env("TOOZ_TEST_URL", format!("etcd3+{url}?api_version=v3"))
        .env("TOOZ_TEST_ETCD_PORT", port.to_string())
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
