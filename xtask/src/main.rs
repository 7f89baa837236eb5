//! The project's own chores, run as `cargo xtask <chore>`.
//!
//! There is one so far: `tidy`, the house rules that a compiler does not check. It is a test as
//! well, so that `cargo test --workspace` cannot pass in an untidy tree.

use std::path::Path;
use std::process::ExitCode;

mod tidy;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => report(tidy::check(repository())),
        other => {
            eprintln!("unknown chore {:?}; there is: cargo xtask tidy", other.unwrap_or(""));
            ExitCode::from(2)
        }
    }
}

/// The root of the repository: the folder that holds this crate's.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository's root")
}

fn report(outcome: anyhow::Result<Vec<tidy::Complaint>>) -> ExitCode {
    match outcome {
        Ok(complaints) if complaints.is_empty() => {
            println!("tidy");
            ExitCode::SUCCESS
        }
        Ok(complaints) => {
            for complaint in &complaints {
                eprintln!("{complaint}");
            }
            eprintln!("{} complaints", complaints.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tidy could not run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let complaints = tidy::check(repository()).unwrap();
        let list: String = complaints.iter().map(|complaint| format!("\n{complaint}")).collect();
        assert!(complaints.is_empty(), "{} complaints:{list}", complaints.len());
    }
}
