//! `synod snapshot restore`: with the flags of etcdutl.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use synod_kv::Restore;
use synod_server::RestoredMember;

/// `synod snapshot restore`
///
/// Run it once for each member of the new cluster, with the same file, --initial-cluster and
/// --bump-revision; then start all of them with the same --initial-cluster.
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// The file: saved from Synod or from etcd.
    file: PathBuf,
    /// The member's name, as in --initial-cluster.
    #[arg(long, default_value = "default")]
    name: String,
    /// The data folder to make [default: NAME.etcd].
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// All members of the new cluster: NAME=PEER_URL, separated by commas [default: this one].
    #[arg(long)]
    initial_cluster: Option<String>,
    /// Tells clusters apart that are made of the same URLs.
    #[arg(long, default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// URLs under which the other members find this one.
    #[arg(long, default_value = "http://localhost:2380")]
    initial_advertise_peer_urls: String,
    /// How far to move the revision ahead, so that none is given out a second time. Everything
    /// before is compacted then, so that watchers notice. 0 leaves both as they are.
    #[arg(long, default_value_t = Restore::BUMP_REVISION)]
    bump_revision: u64,
    /// Compact everything before the new revision: so it is unless --bump-revision is 0.
    #[arg(long)]
    mark_compacted: bool,
    /// Take the file though its hash does not fit.
    #[arg(long)]
    skip_hash_check: bool,
}

/// Runs the command.
pub(super) fn run(args: RestoreArgs) -> anyhow::Result<()> {
    if args.mark_compacted && args.bump_revision == 0 {
        bail!("--mark-compacted needs --bump-revision above 0");
    }
    let cluster = || format!("{}={}", args.name, args.initial_advertise_peer_urls);
    let member = RestoredMember {
        name: args.name.clone(),
        initial_cluster: args.initial_cluster.clone().unwrap_or_else(cluster),
        initial_cluster_token: args.initial_cluster_token.clone(),
        initial_advertise_peer_urls: args.initial_advertise_peer_urls.clone(),
    };
    let folder = args.data_dir.unwrap_or_else(|| format!("{}.etcd", args.name).into());
    let how = Restore { bump_revision: args.bump_revision };
    let facts =
        synod_server::snapshot::restore(&args.file, &member, &folder, how, args.skip_hash_check)?;
    let saved = facts.revision.as_i64();
    println!("restored revision {saved} to {}", folder.display());
    if args.bump_revision > 0 {
        let first = i128::from(saved) + i128::from(args.bump_revision);
        println!("the cluster starts at revision {first}; everything before it is compacted");
    }
    Ok(())
}
