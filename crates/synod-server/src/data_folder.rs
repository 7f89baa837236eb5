//! The folder of a member's data: whose it is, and that nobody else has it.
//!
//! ```text
//!   DIR/member/            0700, locked while a process has it
//!     identity.json        whose folder this is; written last, so it says that the rest is there
//!     wal/                 the log; it names the same owner
//!     store.redb           the store, behind the log
//!     restored.json        only if it began with a snapshot: which one; see `restored`
//! ```
//!
//! | identity.json | log | |
//! |---|---|---|
//! | none | none | a new member |
//! | none | ours | a first start that was cut short: goes on |
//! | ours | the same incarnation | this member |
//! | ours | none, or another | refused: promises may be lost, and voting again would be unsafe |
//! | another's | any | refused |
//! | none | none, beside etcd's data | refused: starting empty beside it would look like a loss |

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

mod restored;

pub(crate) use restored::{Restored, snapshot_of};
use rustix::fs::FlockOperation;
use serde_json::{Value, json};

/// Whose a folder is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MemberIdentity {
    /// The cluster.
    pub cluster: u64,
    /// The member.
    pub member: u64,
    /// Its name, for people.
    pub name: String,
}

/// A folder that this process alone has open.
#[derive(Debug)]
pub struct DataFolder {
    folder: PathBuf,
    owner: MemberIdentity,
    /// The incarnation its identity names; none if it has no identity yet.
    incarnation: Option<u64>,
    /// Whether it began with a snapshot.
    restored: bool,
    /// Holds the lock.
    _lock: File,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// The system refuses.
    #[error("data folder {}: cannot {action}: {reason}", .folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system says.
        reason: io::Error,
    },
    /// Another process has it.
    #[error(
        "data folder {} is in use by another process: stop that one, or use another --data-dir",
        .folder.display()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// It is another member's.
    #[error(
        "data folder {} belongs to member {:x} ({}) of cluster {:x}, but this is member {:x} ({}) \
         of cluster {:x}: check --data-dir, --name and --initial-cluster",
        .folder.display(), .found.member, .found.name, .found.cluster,
        .expected.member, .expected.name, .expected.cluster
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        found: MemberIdentity,
        /// Who asked.
        expected: MemberIdentity,
    },
    /// The identity cannot be read.
    #[error("data folder {}: identity.json is damaged: {reason}", .folder.display())]
    BadIdentity {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// What it was restored from cannot be read.
    #[error("data folder {}: restored.json is damaged: {reason}", .folder.display())]
    BadRestored {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// A later release has written it.
    #[error(
        "data folder {} has format {found}, and this release knows {FORMAT}: use a newer release",
        .folder.display()
    )]
    Format {
        /// The folder.
        folder: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The log is gone.
    #[error(
        "data folder {} has lost its log, and with it the promises of member {member:x}, which \
         must not vote again: bring the folder back, or join as a new member",
        .folder.display()
    )]
    LogLost {
        /// The folder.
        folder: PathBuf,
        /// The member.
        member: u64,
    },
    /// The log is another one.
    #[error(
        "data folder {} is of incarnation {identity:016x}, but the log in it of {log:016x}: they \
         do not belong together",
        .folder.display()
    )]
    LogReplaced {
        /// The folder.
        folder: PathBuf,
        /// What the identity says.
        identity: u64,
        /// What the log says.
        log: u64,
    },
    /// An etcd has left its data there.
    #[error(
        "data folder {} holds the data of an etcd, in snap/db, and nothing of Synod's: it is not \
         taken over in place; restore a snapshot of that etcd into a new folder \
         (docs/migration.md), or use another --data-dir to begin empty",
        .folder.display()
    )]
    OfEtcd {
        /// The folder.
        folder: PathBuf,
    },
    /// There is nothing in it, and the cluster is not new.
    #[error(
        "data folder {} is empty, and --initial-cluster-state is \"existing\": joining a running \
         cluster is not built yet; bring the member's data folder, or found a new cluster",
        .folder.display()
    )]
    NothingToJoinWith {
        /// The folder.
        folder: PathBuf,
    },
}

/// Where the log is, in the member's folder.
const LOG: &str = "wal";

fn member_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("member")
}

/// What may lie on a disk of its own: the member's folder, and the log in it.
pub(crate) fn disks(data_dir: &Path) -> [PathBuf; 2] {
    let folder = member_folder(data_dir);
    [folder.join(LOG), folder]
}

/// The layout that this release writes.
const FORMAT: u64 = 1;

impl DataFolder {
    /// Opens a member's folder below `data_dir`, or makes it.
    ///
    /// # Errors
    /// If it cannot be had, or is somebody else's.
    pub fn open(data_dir: &Path, owner: MemberIdentity) -> Result<Self, DataFolderError> {
        let folder = member_folder(data_dir);
        let failed = |action| {
            let folder = folder.clone();
            move |reason| DataFolderError::Io { folder, action, reason }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(failed("make the folder"))?;
        let lock = File::open(&folder).map_err(failed("open the folder"))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(DataFolderError::InUse { folder }),
            Err(error) => return Err(failed("lock the folder")(error.into())),
        }
        // Also if somebody made it before, with wider rights: what clients store is in it.
        lock.set_permissions(Permissions::from_mode(0o700))
            .map_err(failed("take the rights of others away (chmod 700)"))?;
        let incarnation = match fs::read(folder.join(IDENTITY)) {
            Ok(bytes) => Some(check_identity(&folder, &owner, &bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("read identity.json")(error)),
        };
        let restored = restored::read(&folder)?;
        if let Some(restored) = &restored {
            restored.check(&folder, &owner)?;
        }
        let opened = Self { folder, owner, incarnation, restored: restored.is_some(), _lock: lock };
        if opened.is_new() && opened.folder.join(ETCDS_DATA).exists() {
            return Err(DataFolderError::OfEtcd { folder: opened.folder });
        }
        Ok(opened)
    }

    /// Where the log is.
    #[must_use]
    pub fn log_folder(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    /// Where the store is.
    #[must_use]
    pub fn store_file(&self) -> PathBuf {
        self.folder.join("store.redb")
    }

    /// Whether nothing was ever done in it.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.incarnation.is_none() && !self.restored
    }

    /// Compares with what the log in it says about itself, if there is a log.
    ///
    /// # Errors
    /// If the folder once had another log.
    pub fn check_log(&self, log_incarnation: Option<u64>) -> Result<(), DataFolderError> {
        match (self.incarnation, log_incarnation) {
            (Some(_), None) => Err(DataFolderError::LogLost {
                folder: self.folder.clone(),
                member: self.owner.member,
            }),
            (Some(identity), Some(log)) if identity != log => {
                Err(DataFolderError::LogReplaced { folder: self.folder.clone(), identity, log })
            }
            _ => Ok(()),
        }
    }

    /// Refuses to found anything.
    ///
    /// # Errors
    /// If the folder is new.
    pub fn check_not_new(&self) -> Result<(), DataFolderError> {
        if self.is_new() {
            return Err(DataFolderError::NothingToJoinWith { folder: self.folder.clone() });
        }
        Ok(())
    }

    /// Writes down whose folder it is, unless it says so already. The log must be there before.
    ///
    /// # Errors
    /// If it cannot be written durably.
    pub fn keep_identity(&mut self, incarnation: u64) -> Result<(), DataFolderError> {
        if self.incarnation == Some(incarnation) {
            return Ok(());
        }
        self.write_identity(incarnation).map_err(|reason| DataFolderError::Io {
            folder: self.folder.clone(),
            action: "write identity.json",
            reason,
        })?;
        self.incarnation = Some(incarnation);
        Ok(())
    }

    fn write_identity(&self, incarnation: u64) -> io::Result<()> {
        let MemberIdentity { cluster, member, name } = &self.owner;
        let identity = json!({
            "format": FORMAT,
            "cluster": format!("{cluster:016x}"),
            "member": format!("{member:016x}"),
            "name": name,
            "incarnation": format!("{incarnation:016x}"),
        });
        let temporary = self.folder.join("identity.json.new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        writeln!(file, "{identity:#}")?;
        file.sync_all()?;
        fs::rename(&temporary, self.folder.join(IDENTITY))?;
        File::open(&self.folder)?.sync_all()
    }
}

/// The incarnation that an identity names, if the rest of it is as expected.
fn check_identity(
    folder: &Path,
    owner: &MemberIdentity,
    bytes: &[u8],
) -> Result<u64, DataFolderError> {
    let bad = |reason| DataFolderError::BadIdentity { folder: folder.to_owned(), reason };
    let identity: Value = serde_json::from_slice(bytes).map_err(|_| bad("it is no JSON"))?;
    let format = identity["format"].as_u64().ok_or_else(|| bad("it has no format"))?;
    if format != FORMAT {
        return Err(DataFolderError::Format { folder: folder.to_owned(), found: format });
    }
    let number = |field: &str, reason| {
        let text = identity[field].as_str().ok_or_else(|| bad(reason))?;
        u64::from_str_radix(text, 16).map_err(|_| bad(reason))
    };
    let found = MemberIdentity {
        cluster: number("cluster", "it names no cluster")?,
        member: number("member", "it names no member")?,
        name: identity["name"].as_str().ok_or_else(|| bad("it has no name"))?.to_owned(),
    };
    let incarnation = number("incarnation", "it names no incarnation")?;
    if (found.cluster, found.member) != (owner.cluster, owner.member) {
        let (folder, expected) = (folder.to_owned(), owner.clone());
        return Err(DataFolderError::Foreign { folder, found, expected });
    }
    Ok(incarnation)
}

const IDENTITY: &str = "identity.json";

/// Where etcd keeps its data, in its folder of the same name.
const ETCDS_DATA: &str = "snap/db";

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> MemberIdentity {
        MemberIdentity { cluster: 0xc, member: 0xa, name: "one".to_owned() }
    }

    fn error(result: Result<DataFolder, DataFolderError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn cve_2020_15113_a_folder_that_was_there_before_is_closed_to_others_too() {
        let temp = tempfile::tempdir().unwrap();
        let member = temp.path().join("member");
        fs::create_dir(&member).unwrap();
        fs::set_permissions(&member, Permissions::from_mode(0o755)).unwrap();
        let _open = DataFolder::open(temp.path(), owner()).unwrap();
        let mode = fs::metadata(&member).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_folder_remembers_its_member() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("deep/data");
        let mut folder = DataFolder::open(&dir, owner()).unwrap();
        assert!(folder.is_new());
        assert!(folder.check_not_new().is_err());
        folder.check_log(None).unwrap();
        folder.check_log(Some(7)).unwrap();
        folder.keep_identity(7).unwrap();
        drop(folder);
        let folder = DataFolder::open(&dir, owner()).unwrap();
        assert!(!folder.is_new());
        folder.check_log(Some(7)).unwrap();
        let mode = fs::metadata(dir.join("member")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_lost_or_replaced_log_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let mut folder = DataFolder::open(temp.path(), owner()).unwrap();
        folder.keep_identity(7).unwrap();
        let lost = folder.check_log(None).unwrap_err().to_string();
        assert!(lost.contains("has lost its log, and with it the promises of member a"), "{lost}");
        let replaced = folder.check_log(Some(8)).unwrap_err().to_string();
        assert!(replaced.contains("incarnation 0000000000000007"), "{replaced}");
    }

    #[test]
    fn a_folder_in_use_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let _held = DataFolder::open(temp.path(), owner()).unwrap();
        let text = error(DataFolder::open(temp.path(), owner()));
        assert!(text.contains("is in use by another process"), "{text}");
    }

    #[test]
    fn anothers_folder_is_refused_and_both_are_named() {
        let temp = tempfile::tempdir().unwrap();
        DataFolder::open(temp.path(), owner()).unwrap().keep_identity(7).unwrap();
        let others = [
            MemberIdentity { member: 0xb, name: "two".to_owned(), ..owner() },
            MemberIdentity { cluster: 0xd, ..owner() },
        ];
        for other in others {
            let text = error(DataFolder::open(temp.path(), other.clone()));
            let theirs = "belongs to member a (one) of cluster c, but this is member";
            let ours =
                format!("{:x} ({}) of cluster {:x}", other.member, other.name, other.cluster);
            assert!(text.contains(theirs) && text.contains(&ours), "{text}");
        }
    }

    #[test]
    fn a_damaged_identity_is_refused() {
        let table = [
            ("", "it is no JSON"),
            ("{}", "it has no format"),
            (r#"{"format":2}"#, "has format 2, and this release knows 1"),
            (r#"{"format":1}"#, "it names no cluster"),
            (r#"{"format":1,"cluster":"c","member":"zz"}"#, "it names no member"),
            (r#"{"format":1,"cluster":"c","member":"a"}"#, "it has no name"),
            (r#"{"format":1,"cluster":"c","member":"a","name":""}"#, "it names no incarnation"),
        ];
        for (identity, expected) in table {
            let temp = tempfile::tempdir().unwrap();
            fs::create_dir(temp.path().join("member")).unwrap();
            fs::write(temp.path().join("member/identity.json"), identity).unwrap();
            let text = error(DataFolder::open(temp.path(), owner()));
            assert!(text.contains(expected), "{identity}: {text}");
        }
    }

    #[test]
    fn a_folder_with_the_data_of_an_etcd_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().join("member/snap");
        fs::create_dir_all(&data).unwrap();
        DataFolder::open(temp.path(), owner()).unwrap();
        fs::write(data.join("db"), "").unwrap();
        let text = error(DataFolder::open(temp.path(), owner()));
        assert!(text.contains("holds the data of an etcd, in snap/db"), "{text}");
        fs::remove_file(data.join("db")).unwrap();
        let mut folder = DataFolder::open(temp.path(), owner()).unwrap();
        folder.keep_identity(7).unwrap();
        drop(folder);
        fs::write(data.join("db"), "").unwrap();
        DataFolder::open(temp.path(), owner()).unwrap();
    }

    #[test]
    fn a_file_in_its_place_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("member"), "").unwrap();
        let text = error(DataFolder::open(temp.path(), owner()));
        assert!(text.contains("cannot make the folder"), "{text}");
    }
}
