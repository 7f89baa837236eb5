//! A counter kept by three members in one process, each with its own data folder.
//!
//! Run it again, or kill it at any moment and run it again: it goes on counting from where it was.
//!
//! ```text
//! cargo run -p synod-replica --example counter -- FOLDER [HOW_OFTEN]
//! ```

use std::path::Path;

use bytes::Bytes;
use synod_replica::{Entry, Guarantee, RuntimeOptions, StateMachine, local};

/// The state. It lives in memory: after a start the log tells it all over again.
#[derive(Debug, Default)]
pub(crate) struct Counter(u64);

impl StateMachine for Counter {
    type Reply = u64;

    fn apply(&mut self, entry: Entry<'_>) -> u64 {
        if entry.payload == "add one" {
            self.0 += 1;
        }
        self.0
    }
}

/// Adds one, so many times, and then asks each member where the counter stands.
pub(crate) fn count(folder: &Path, how_often: u32) -> anyhow::Result<()> {
    let options = RuntimeOptions::default();
    let members = local::start(folder, 3, &options, |_| Counter::default())?;
    for _ in 0..how_often {
        let value = members[0].handle().propose_blocking(Bytes::from_static(b"add one"))?;
        println!("added: {value}");
    }
    for member in &members {
        let id = member.handle().me().id;
        let read = |counter: &Counter| counter.0;
        let value = member.handle().query_blocking(Guarantee::Linearizable, read)?;
        println!("member {id} says: {value}");
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "counter-data".to_owned());
    let how_often = arguments.next().map_or(Ok(5), |times| times.parse())?;
    count(Path::new(&folder), how_often)
}
