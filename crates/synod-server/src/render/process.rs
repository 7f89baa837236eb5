//! The process, as every Prometheus library tells it, from `/proc`.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::Page;
use crate::service::Context;

/// What the kernel says about this process.
#[derive(Debug, Default, PartialEq)]
struct Process {
    cpu_ticks: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

pub(super) fn render(page: &mut Page, _: &Context) {
    // Elsewhere than on Linux there is nothing to read, and nothing is said.
    let Some(process) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(parse)
    else {
        return;
    };
    let seconds = |ticks: u64| {
        let ticks_per_second = clock_ticks_per_second().max(1);
        std::time::Duration::from_millis(ticks * 1000 / ticks_per_second).as_secs_f64()
    };
    let cpu = seconds(process.cpu_ticks);
    page.counter("process_cpu_seconds_total", "Seconds of processor time used.", cpu);
    let resident = process.resident_pages * super::number(page_size());
    page.gauge("process_resident_memory_bytes", "Bytes of memory used.", resident);
    let name = "process_virtual_memory_bytes";
    page.gauge(name, "Bytes of memory mapped.", process.virtual_bytes);
    // Without a bound it is as large as can be, as other libraries tell it.
    let max = getrlimit(Resource::As).current.unwrap_or(u64::MAX);
    let name = "process_virtual_memory_max_bytes";
    page.gauge(name, "How many bytes of memory may be mapped.", max);
    if let Some(booted) = fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_time) {
        let start = seconds(process.start_ticks + booted * clock_ticks_per_second());
        page.gauge("process_start_time_seconds", "When the process started.", start);
    }
    // One of them is open only because it is counted.
    let open = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count().saturating_sub(1));
    let max = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    page.gauge("process_open_fds", "Open files and sockets.", open);
    page.gauge("process_max_fds", "How many files and sockets may be open.", max);
    page.gauge("os_fd_used", "Open files and sockets.", open);
    page.gauge("os_fd_limit", "How many files and sockets may be open.", max);
}

/// Fields of `/proc/self/stat`, which the name in parentheses may precede with anything.
fn parse(stat: &str) -> Option<Process> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    // Numbered from the third, as in proc(5).
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Process {
        cpu_ticks: field(14)? + field(15)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

/// When the machine started, in seconds.
fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_confuses_nobody() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 9 0 5000 4096000 250 1";
        let expected = Process {
            cpu_ticks: 42,
            start_ticks: 5000,
            virtual_bytes: 4_096_000,
            resident_pages: 250,
        };
        assert_eq!(parse(stat), Some(expected));
        assert_eq!(parse("nonsense"), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000));
    }
}
