//! What a suite needs on this machine, fetched from the registries once and kept outside the
//! repository.
//!
//! Each thing lives in a folder of its own with a stamp that says what it was made from; a folder
//! without the right stamp is made anew. Downloads are tried three times.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;
use tokio::sync::Mutex;

use super::pair::sources;

/// Where things are kept, and how they come there.
#[derive(Clone, Debug)]
pub struct Machine {
    cache: PathBuf,
    /// Suites run beside each other; one thing is installed at a time.
    installing: Arc<Mutex<()>>,
}

/// The user who runs what refuses to be run by root. Debian's PostgreSQL brings it.
pub const UNPRIVILEGED: &str = "postgres";

impl Machine {
    /// Keeps things in `cache`, or where the machine keeps such things.
    pub fn new(cache: Option<PathBuf>) -> anyhow::Result<Self> {
        let cache = cache.or_else(default_cache).context("no HOME; give --cache")?;
        std::fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
        Ok(Self { cache: cache.canonicalize()?, installing: Arc::default() })
    }

    /// Where things are kept.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Installs the Debian packages whose program is missing: pairs of a program and a package.
    pub async fn packages(&self, needed: &[(&str, &str)]) -> anyhow::Result<()> {
        let _alone = self.installing.lock().await;
        install_packages(needed).await
    }

    /// A Python environment with the packages of a requirements file; gives its interpreter.
    pub async fn python(&self, name: &str, requirements: &Path) -> anyhow::Result<PathBuf> {
        let _alone = self.installing.lock().await;
        let text = std::fs::read_to_string(requirements)?;
        let (folder, made) = self.folder(name, &text)?;
        let python = folder.join("bin/python");
        if !made {
            install_packages(&[("/usr/share/doc/python3-venv", "python3-venv")]).await?;
            // Not one below a home folder, which another user could not reach.
            let base = find("/usr/bin/python3").or_else(|| find("python3"));
            let base = base.context("no python3")?;
            run(Command::new(&base).args(["-m", "venv"]).arg(&folder)).await?;
            let file = requirements.to_owned();
            let install = || {
                let mut command = Command::new(&python);
                command.args(["-m", "pip", "install", "-q", "-r"]).arg(&file);
                command
            };
            three_tries(name, install).await?;
            stamp(&folder, &text)?;
        }
        Ok(python)
    }

    /// The source of a package on PyPI, unpacked.
    pub async fn python_source(
        &self,
        python: &Path,
        name: &str,
        version: &str,
    ) -> anyhow::Result<PathBuf> {
        let _alone = self.installing.lock().await;
        let text = format!("{name}=={version}");
        let (folder, made) = self.folder(&format!("{name}-source"), &text)?;
        let unpacked = folder.join(format!("{name}-{version}"));
        if !made {
            std::fs::create_dir_all(&folder)?;
            let download = || {
                let mut command = Command::new(python);
                command.args(["-m", "pip", "download", "-q", "--no-deps", "--no-binary", name]);
                command.arg("--dest").arg(&folder).arg(&text);
                command
            };
            three_tries(&text, download).await?;
            let archive = folder.join(format!("{name}-{version}.tar.gz"));
            run(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(&folder)).await?;
            stamp(&folder, &text)?;
        }
        Ok(unpacked)
    }

    /// A folder with the packages of `conformance/npm` and its files.
    pub async fn npm(&self) -> anyhow::Result<PathBuf> {
        let _alone = self.installing.lock().await;
        let from = sources().join("npm");
        let manifest = std::fs::read_to_string(from.join("package.json"))?;
        let lock = std::fs::read_to_string(from.join("package-lock.json"))?;
        let text = format!("{manifest}{lock}");
        let (folder, made) = self.folder("npm", &text)?;
        install_packages(&[("node", "nodejs"), ("npm", "npm")]).await?;
        std::fs::create_dir_all(&folder)?;
        for file in std::fs::read_dir(&from)?.collect::<Result<Vec<_>, _>>()? {
            if file.file_type()?.is_file() {
                std::fs::copy(file.path(), folder.join(file.file_name()))?;
            }
        }
        if !made {
            let install = || {
                let mut command = Command::new("npm");
                command.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
                command.current_dir(&folder);
                command
            };
            three_tries("npm ci", install).await?;
            stamp(&folder, &text)?;
        }
        Ok(folder)
    }

    /// A copy of a published crate's source, with its own tests.
    pub async fn crate_source(&self, name: &str, version: &str) -> anyhow::Result<PathBuf> {
        let _alone = self.installing.lock().await;
        let text = format!("{name}={version}");
        let (folder, made) = self.folder(&format!("{name}-source"), &text)?;
        if !made {
            let scratch = self.cache.join(format!("{name}-fetch"));
            std::fs::create_dir_all(scratch.join("src"))?;
            std::fs::write(scratch.join("src/lib.rs"), "")?;
            let manifest = format!(
                "[package]\nname = \"fetch\"\nedition = \"2021\"\n[workspace]\n\
                 [dependencies]\n{name} = \"={version}\"\n"
            );
            std::fs::write(scratch.join("Cargo.toml"), manifest)?;
            let fetch = || {
                let mut command = Command::new("cargo");
                command.args(["vendor", "-q", "--versioned-dirs", "vendor"]);
                command.current_dir(&scratch).env_remove("CARGO_TARGET_DIR");
                command
            };
            three_tries(&text, fetch).await?;
            let from = scratch.join("vendor").join(format!("{name}-{version}"));
            std::fs::rename(&from, &folder)
                .with_context(|| format!("{} → {}", from.display(), folder.display()))?;
            std::fs::remove_dir_all(&scratch)?;
            stamp(&folder, &text)?;
        }
        Ok(folder)
    }

    /// The folder for a thing made from `text`, and whether it is made already. If it is not, it
    /// does not exist.
    fn folder(&self, name: &str, text: &str) -> anyhow::Result<(PathBuf, bool)> {
        let folder = self.cache.join(name);
        let made = std::fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found == text);
        if !made && folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        Ok((folder, made))
    }
}

/// The file that says what its folder was made from.
const STAMP: &str = "made-from";

fn stamp(folder: &Path, text: &str) -> anyhow::Result<()> {
    Ok(std::fs::write(folder.join(STAMP), text)?)
}

fn default_cache() -> Option<PathBuf> {
    const NAME: &str = "synod-conformance";
    if let Some(cache) = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()) {
        return Some(PathBuf::from(cache).join(NAME));
    }
    if is_root() {
        // A home of root is closed to the user who runs PostgreSQL.
        return Some(PathBuf::from("/var/cache").join(NAME));
    }
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache").join(NAME))
}

/// Whether this process is root's.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// A program's file: itself if it is a path, else looked up in `PATH`.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = Path::new(program);
    if path.is_absolute() {
        return path.exists().then(|| path.to_owned());
    }
    let all = std::env::var_os("PATH")?;
    std::env::split_paths(&all).map(|folder| folder.join(program)).find(|file| file.is_file())
}

async fn install_packages(needed: &[(&str, &str)]) -> anyhow::Result<()> {
    let is_missing = |(program, _): &&(&str, &str)| find(program).is_none();
    let missing: Vec<&str> = needed.iter().filter(is_missing).map(|need| need.1).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    let sudo = if is_root() { "" } else { "sudo -n " };
    let script = format!(
        "{sudo}apt-get update -q && {sudo}env DEBIAN_FRONTEND=noninteractive \
         apt-get install -q -y --no-install-recommends {names}"
    );
    three_tries(&names, || shell(&script)).await
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script);
    command
}

async fn three_tries(what: &str, command: impl Fn() -> Command) -> anyhow::Result<()> {
    const TRIES: u32 = 3;
    const PAUSE: Duration = Duration::from_secs(5);
    println!("installing {what}");
    for attempt in 1..=TRIES {
        match run(&mut command()).await {
            Ok(()) => return Ok(()),
            Err(error) if attempt == TRIES => return Err(error),
            Err(error) => eprintln!("try {attempt} of {TRIES} failed: {error:#}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Runs a command to its end; what it says is shown only if it fails.
pub async fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let output = tokio::time::timeout(INSTALL_MAX, output)
        .await
        .with_context(|| format!("{name} still runs after {INSTALL_MAX:?}"))?
        .with_context(|| format!("starting {name}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().rev().take(8).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    ensure!(!last.is_empty(), "{name}: {}", output.status);
    bail!("{name}: {}: {}", output.status, last.join("\n"))
}

/// The longest that one step of an installation may take.
const INSTALL_MAX: Duration = Duration::from_secs(300);
