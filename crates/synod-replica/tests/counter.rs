//! The counter example, killed at any moment, never loses an increment that it has told of.
//!
//! This binary is its own child: with `child FOLDER HOW_OFTEN` it runs the example.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

#[path = "../../../examples/counter.rs"]
#[expect(dead_code, reason = "the example's main stays unused")]
mod example;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["child", folder, how_often] => example::count(Path::new(folder), how_often.parse()?),
        _ => killed_counter_loses_no_increment(),
    }
}

fn killed_counter_loses_no_increment() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut acknowledged = 0;
    for kill_after in [1, 7, 40] {
        let mut child = start(folder.path(), 100_000)?;
        let mut told = values(&mut child, "added: ");
        let first = told.next().ok_or_else(|| anyhow::anyhow!("it told nothing"))?;
        // One increment may have been applied when the kill came, and not told of.
        let next = acknowledged + 1..=acknowledged + 2;
        anyhow::ensure!(next.contains(&first), "after {acknowledged} came {first}");
        acknowledged = first;
        let mut told_of = 0;
        for value in told {
            anyhow::ensure!(value == acknowledged + 1, "after {acknowledged} came {value}");
            acknowledged = value;
            told_of += 1;
            if told_of == kill_after {
                child.kill()?;
            }
        }
        child.wait()?;
    }

    let mut child = start(folder.path(), 1)?;
    let values: Vec<_> = values(&mut child, ": ").collect();
    anyhow::ensure!(child.wait()?.success(), "the counter failed");
    let [added, members @ ..] = &values[..] else { anyhow::bail!("it told nothing") };
    let next = acknowledged + 1..=acknowledged + 2;
    anyhow::ensure!(next.contains(added), "after {acknowledged} came {added}");
    anyhow::ensure!(*members == [*added; 3], "members differ: {values:?}");
    Ok(())
}

fn start(folder: &Path, how_often: u32) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("child").arg(folder).arg(how_often.to_string());
    Ok(command.stdout(Stdio::piped()).spawn()?)
}

/// The numbers that the child prints behind a mark.
fn values(child: &mut Child, mark: &'static str) -> impl Iterator<Item = u64> + use<> {
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    lines.map_while(Result::ok).filter_map(move |line| line.split_once(mark)?.1.parse().ok())
}
