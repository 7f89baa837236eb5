//! The floors of the house: a crate depends only on crates of a lower floor.
//!
//! Two crates of one floor do not know each other, so that each can be read, replaced and tested
//! alone. Dev-dependencies may meet on one floor (a replica's example wants a transport) but
//! never point upward.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use super::Complaint;

/// Which crate stands on which floor.
const FLOORS: &[(&str, u8)] = &[
    ("synod-paxos", 0),
    ("synod-kv", 0),
    ("synod-wal", 0),
    ("synod-bolt", 0),
    ("synod-replica", 1),
    ("synod-transport", 1),
    ("synod-etcd", 1),
    ("synod-sim", 2),
    ("synod-server", 2),
    ("synod-client", 2),
    ("synod", 3),
];

/// Crates beside the house: they look at it, and nothing of it depends on them.
const OUTSIDE: &[&str] = &["xtask", "conformance"];

/// All that the core may depend on.
const CORE_DEPENDENCIES: &[&str] = &["bytes"];

/// What `cargo metadata` tells of a package, as far as it matters here.
#[derive(Debug)]
pub(crate) struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug)]
struct Dependency {
    name: String,
    only_for_tests: bool,
}

/// Asks cargo for the packages of the workspace at `root`.
pub(crate) fn packages(root: &Path) -> anyhow::Result<Vec<Package>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("running cargo metadata")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "cargo metadata failed: {complaint}");
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("metadata without packages")?;
    packages.iter().map(package).collect()
}

fn package(json: &Value) -> anyhow::Result<Package> {
    let name =
        |json: &Value| json["name"].as_str().map(str::to_owned).context("a nameless package");
    let dependencies = json["dependencies"].as_array().context("a package without dependencies")?;
    let dependency = |json: &Value| {
        Ok(Dependency { name: name(json)?, only_for_tests: json["kind"].as_str() == Some("dev") })
    };
    Ok(Package {
        name: name(json)?,
        dependencies: dependencies.iter().map(dependency).collect::<anyhow::Result<_>>()?,
    })
}

/// Checks every arrow between the crates of the workspace, and the purity of the core.
pub(crate) fn check(packages: &[Package]) -> Vec<Complaint> {
    packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Complaint> {
    if OUTSIDE.contains(&package.name.as_str()) {
        return Vec::new();
    }
    let Some(floor) = floor_of(&package.name) else {
        let text = format!("{} stands on no floor: give it one in xtask's FLOORS", package.name);
        return vec![Complaint::new("xtask/src/tidy/floors.rs", 0, text)];
    };
    let wrong = package.dependencies.iter().filter_map(|dependency| {
        wrong_arrow(&package.name, floor, dependency)
            .or_else(|| impurity(&package.name, dependency))
    });
    let manifest = format!("crates/{}/Cargo.toml", package.name);
    wrong.map(|text| Complaint::new(&manifest, 0, text)).collect()
}

fn wrong_arrow(name: &str, floor: u8, dependency: &Dependency) -> Option<String> {
    if OUTSIDE.contains(&dependency.name.as_str()) {
        return Some(format!("{name} depends on {}, which is beside the house", dependency.name));
    }
    let below = floor_of(&dependency.name)?;
    let allowed = if dependency.only_for_tests { below <= floor } else { below < floor };
    (!allowed).then(|| {
        format!(
            "{name} (floor {floor}) depends on {} (floor {below}): arrows go strictly downward; \
             move what is shared to a lower floor, or pass it in through a trait",
            dependency.name
        )
    })
}

fn impurity(name: &str, dependency: &Dependency) -> Option<String> {
    let pure = CORE_DEPENDENCIES.contains(&dependency.name.as_str());
    (name == "synod-paxos" && !dependency.only_for_tests && !pure).then(|| {
        format!("the core depends on bytes only, not on {}: pass its effect in", dependency.name)
    })
}

fn floor_of(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, floor)| *floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(name: &str, dependency: &str, only_for_tests: bool) -> usize {
        let dependency = Dependency { name: dependency.to_owned(), only_for_tests };
        check(&[Package { name: name.to_owned(), dependencies: vec![dependency] }]).len()
    }

    #[test]
    fn arrows_go_strictly_downward() {
        let cases = [
            ("synod-replica", "synod-paxos", false, 0),
            ("synod-server", "tonic", false, 0),
            ("synod-replica", "synod-transport", false, 1),
            ("synod-replica", "synod-transport", true, 0),
            ("synod-wal", "synod-replica", false, 1),
            ("synod-wal", "synod-replica", true, 1),
            ("synod-kv", "synod-paxos", false, 1),
            ("synod", "conformance", false, 1),
            ("conformance", "synod-etcd", false, 0),
            ("synod-new", "bytes", false, 1),
        ];
        for (name, dependency, only_for_tests, expected) in cases {
            let found = complaints(name, dependency, only_for_tests);
            assert_eq!(found, expected, "{name} -> {dependency} ({only_for_tests})");
        }
    }

    #[test]
    fn the_core_depends_on_bytes_only() {
        assert_eq!(complaints("synod-paxos", "bytes", false), 0);
        assert_eq!(complaints("synod-paxos", "proptest", true), 0);
        assert_eq!(complaints("synod-paxos", "tokio", false), 1);
    }
}
