//! What a member does by itself, beside its clients: watches its space, and compacts history.
//!
//! All of it goes through the log, and whoever leads proposes what concerns all. Nothing here is
//! needed for safety: a round that fails is made again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use synod_kv::{Command, Compact};
use tokio::time::sleep;
use tracing::{info, warn};

use super::Context;
use crate::auto_compaction::AutoCompactor;
use crate::data_folder::disks;
use crate::disk_space::DiskSpace;
use crate::space::{Fullness, Passed};

/// Space is looked at so often, and when a request was refused or the quota is used up.
const INTERVAL: Duration = Duration::from_secs(1);
/// It is looked at no more often than this, and so often if the disk is nearly full.
const INTERVAL_MIN: Duration = Duration::from_millis(50);

/// The member's own work.
struct House {
    context: Arc<Context>,
    start: Instant,
    compactor: AutoCompactor,
    fullness: Fullness,
    disk_low: bool,
    disk_nearly_low: bool,
}

/// Keeps house until the task is ended.
pub(crate) async fn keep(context: Arc<Context>) {
    let mut house = House {
        start: Instant::now(),
        compactor: AutoCompactor::new(context.config.space.auto_compaction),
        fullness: Fullness::default(),
        disk_low: false,
        disk_nearly_low: false,
        context,
    };
    loop {
        house.look_at_disk().await;
        house.report_space().await;
        house.compact().await;
        house.pause().await;
    }
}

impl House {
    async fn pause(&self) {
        sleep(INTERVAL_MIN).await;
        if self.disk_nearly_low {
            return;
        }
        let compaction = self.compactor.next().saturating_sub(self.start.elapsed());
        tokio::select! {
            () = sleep(INTERVAL.min(compaction)) => {}
            () = self.context.space.next_excess() => {}
        }
    }

    /// Looks at the room on disk, and on that of the log if it has one of its own; a system that
    /// cannot tell it changes nothing. What waits for the engine counts as written.
    async fn look_at_disk(&mut self) {
        let [log, data] = disks(&self.context.config.data_dir);
        let (before, segment) = (self.disk_low, self.context.log_segment_bytes);
        let waiting = self.context.reader.sizes().map_or(0, |sizes| sizes.overlay_bytes);
        // The file system may hang.
        let found = tokio::task::spawn_blocking(move || {
            let (log, data) = (DiskSpace::of(&log)?, DiskSpace::of(&data)?.once_written(waiting));
            let nearly = log.is_nearly_low(segment) || data.is_nearly_low(segment);
            std::io::Result::Ok((if log.is_low(before, segment) { log } else { data }, nearly))
        });
        let Ok(Ok((found, nearly))) = found.await else { return };
        self.disk_nearly_low = nearly;
        let low = found.is_low(before, segment);
        if low && !self.disk_low {
            warn!(
                free = found.free,
                total = found.total,
                "the disk is nearly full: no more data is taken, until some is freed on it"
            );
        } else if !low && self.disk_low {
            info!(free = found.free, "the disk has room again");
        }
        self.disk_low = low;
        self.context.space.found_disk_low(low);
    }

    /// Tells the log what this member finds, if that changes an alarm.
    async fn report_space(&mut self) {
        self.tell_fullness();
        let context = &self.context;
        if context.leadership.leader() == 0 {
            return;
        }
        let (me, leads) = (context.config.member_id, context.leadership.is_leader());
        for report in context.space.due_reports(me, leads, &context.reader.alarms()) {
            let command = Command::SpaceReport(report);
            match context.propose_own(&command).await {
                Ok(_) => info!(?report, "reported the space of a member"),
                Err(refusal) => warn!(%refusal, ?report, "could not report the space of a member"),
            }
        }
    }

    fn tell_fullness(&mut self) {
        let space = &self.context.space;
        let (used, quota) = (space.used(), space.quota());
        match self.fullness.observe(used, quota) {
            Some(Passed::Up(percent)) => warn!(
                used,
                quota, "{percent} % of the space quota is in use: compact, delete or raise it"
            ),
            Some(Passed::Down(percent)) => {
                info!(used, quota, "less than {percent} % of the space quota is in use again");
            }
            None => {}
        }
    }

    /// Compacts history if it is time and this member leads.
    async fn compact(&mut self) {
        let context = &self.context;
        let due = self.compactor.due(self.start.elapsed(), context.reader.revision());
        let Some(revision) = due.filter(|_| context.leadership.is_leader()) else { return };
        if revision <= context.reader.compact_revision() {
            return self.compactor.done(self.start.elapsed(), revision);
        }
        let command = Command::Compact(Compact { revision });
        match context.propose_own(&command).await {
            Ok(_) => {
                info!(%revision, "compacted history by itself");
                self.compactor.done(self.start.elapsed(), revision);
            }
            Err(refusal) => warn!(%refusal, %revision, "could not compact history"),
        }
    }
}
