//! The figures as Prometheus reads them, under etcd's names where they mean the same.
//!
//! Each file below renders what belongs together; [`SECTIONS`] is all of them.

mod calls;
mod certificates;
mod connections;
mod consensus;
mod leases;
mod page;
mod peers;
mod probes;
mod process;
mod storage;
mod watch;

pub(crate) use page::Page;

use crate::service::Context;

/// The parts of the page, in their order.
const SECTIONS: &[fn(&mut Page, &Context)] = &[
    consensus::render,
    storage::render,
    leases::render,
    watch::render,
    calls::render,
    connections::render,
    peers::render,
    certificates::render,
    probes::render,
    process::render,
];

/// The whole page.
pub(crate) fn metrics(context: &Context) -> String {
    let mut page = Page::new();
    for section in SECTIONS {
        section(&mut page, context);
    }
    page.into_text()
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
