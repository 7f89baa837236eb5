//! Runs the scripts in `testscripts/`: a cluster in a text file. See its `README.md`.
//!
//! `UPDATE_SCRIPTS=1 cargo test -p synod-paxos --test scripts` writes down what happens now; the
//! difference is for people to judge.

mod cluster;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster::{Cluster, Envelope, Line, id};
use synod_paxos::{Options, PersistId, ReplicaId};

#[test]
fn scripts_say_what_happens() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testscripts");
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    let scripts = scripts_in(&root);
    assert!(!scripts.is_empty(), "no scripts in {}", root.display());
    let mut failures = String::new();
    for path in scripts {
        let name = path.strip_prefix(&root).expect("it was found there").display().to_string();
        let expected = std::fs::read_to_string(&path).expect("a script is readable");
        let actual = Script::run(&name, &expected);
        if update {
            std::fs::write(&path, actual).expect("a script is writable");
        } else if actual != expected {
            let _ = writeln!(failures, "{name}: {}", first_difference(&expected, &actual));
        }
    }
    assert!(failures.is_empty(), "scripts differ (UPDATE_SCRIPTS=1 rewrites them):\n{failures}");
}

fn scripts_in(folder: &Path) -> Vec<PathBuf> {
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            scripts.extend(scripts_in(&path));
        } else if path.extension().is_none() {
            scripts.push(path);
        }
    }
    scripts.sort();
    scripts
}

fn first_difference(expected: &str, actual: &str) -> String {
    let lines = expected.lines().zip(actual.lines()).zip(1..);
    let different = lines.into_iter().find(|((expected, actual), _)| expected != actual);
    different.map_or_else(
        || String::from("one is longer than the other"),
        |((expected, actual), line)| {
            format!("line {line}\n  expected {expected}\n  actual   {actual}")
        },
    )
}

/// A script as it runs.
struct Script {
    cluster: Option<Cluster>,
    output: String,
}

impl Script {
    /// Runs all blocks; returns the file as it should be.
    fn run(name: &str, text: &str) -> String {
        let mut script = Self { cluster: None, output: String::new() };
        let mut result = String::new();
        let mut in_output = false;
        for (line, number) in text.lines().zip(1..) {
            match line {
                "---" => {
                    in_output = true;
                    let output = std::mem::take(&mut script.output);
                    let output = if output.is_empty() { String::from("ok\n") } else { output };
                    let _ = write!(result, "---\n{output}");
                }
                "" => {
                    in_output = false;
                    result.push('\n');
                }
                _ if in_output => {}
                _ => {
                    let _ = writeln!(result, "{line}");
                    if !line.starts_with('#') {
                        let place = format!("{name}:{number}: {line}");
                        script.command(line, &place);
                    }
                }
            }
        }
        assert!(script.output.is_empty(), "{name}: the last block has no ---");
        result
    }

    fn command(&mut self, line: &str, place: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        let (&command, args) = words.split_first().expect("the line is not empty");
        if command == "cluster" {
            self.cluster = Some(make_cluster(args, place));
        }
        let Some(cluster) = &mut self.cluster else { panic!("{place}: no cluster yet") };
        let mut answers = Vec::new();
        let summary = matches!(command, "lead" | "settle" | "run");
        act(cluster, command, args, place, &mut answers);
        let lines = cluster.take_trace();
        let shown = lines.into_iter().filter(|line| line.milestone || !summary);
        for text in shown.map(|Line { text, .. }| text).chain(answers) {
            let _ = writeln!(self.output, "{text}");
        }
    }
}

/// `cluster COUNT [fresh] [option=value ...]`
fn make_cluster(args: &[&str], place: &str) -> Cluster {
    let (count, rest) = args.split_first().unwrap_or_else(|| panic!("{place}: how many?"));
    // Scripts show what is said, not when: followers hear at once what is chosen.
    let options = Options { announce_delay: Duration::ZERO, ..Options::default() };
    let (mut options, mut fresh) = (options, false);
    for arg in rest {
        match arg.split_once('=') {
            None if *arg == "fresh" => fresh = true,
            Some((name, value)) => set_option(&mut options, name, number(value, place), place),
            None => panic!("{place}: what is {arg}?"),
        }
    }
    let count = number(count, place);
    if fresh { Cluster::fresh(count, options) } else { Cluster::formed(count, options) }
}

fn set_option(options: &mut Options, name: &str, value: u64, place: &str) {
    let size = usize::try_from(value).expect("a small number");
    match name {
        "announce_delay_ms" => options.announce_delay = Duration::from_millis(value),
        "slots_in_flight_max" => options.slots_in_flight_max = value,
        "page_bytes_max" => options.page_bytes_max = size,
        "cache_bytes_max" => options.cache_bytes_max = size,
        "trim_slots_min" => options.trim_slots_min = value,
        "window_slots_max" => options.window_slots_max = value,
        _ => panic!("{place}: no option {name}"),
    }
}

fn act(
    cluster: &mut Cluster,
    command: &str,
    args: &[&str],
    place: &str,
    answers: &mut Vec<String>,
) {
    let arg = |n: usize| *args.get(n).unwrap_or_else(|| panic!("{place}: something is missing"));
    let member = |n: usize| member(arg(n), place);
    let all = || args.iter().map(|word| self::member(word, place)).collect::<Vec<_>>();
    match command {
        "cluster" => {}
        "campaign" => cluster.campaign(member(0)),
        "lead" => {
            cluster.campaign(member(0));
            cluster.run(Duration::from_millis(300));
        }
        "tick" => all().into_iter().for_each(|id| cluster.tick(id)),
        "advance" => cluster.advance(span(arg(0), place)),
        "run" => cluster.run(span(arg(0), place)),
        "settle" => cluster.settle(),
        "persist" => {
            let up_to = args.get(1).map(|id| PersistId::new(number(id, place)));
            cluster.persist(member(0), up_to);
        }
        "deliver" => {
            for envelope in take_matching(cluster, args, place) {
                cluster.deliver(envelope);
            }
        }
        "drop" => {
            take_matching(cluster, args, place);
        }
        "duplicate" => {
            let matching = take_matching(cluster, args, place);
            cluster.network.extend(matching.iter().cloned());
            cluster.network.extend(matching);
        }
        "network" => answers.extend(
            cluster
                .network
                .iter()
                .map(|Envelope { from, to, message }| format!("{}>{to} {message}", from.id)),
        ),
        "propose" => cluster.propose_together(member(0), &args[1..]),
        "withdraw" => {
            answers.push(format!("{:?}", cluster.withdraw(member(0), number(arg(1), place))));
        }
        "read" => {
            let count = args.get(1).map_or(1, |count| number(count, place));
            cluster.read(member(0), usize::try_from(count).expect("few"));
        }
        "transfer" => {
            let to = args.get(1).map(|to| self::member(to, place));
            if !cluster.transfer(member(0), to) {
                answers.push(String::from("refused"));
            }
        }
        "unreachable" => cluster.unreachable(member(0), member(1)),
        "stabilize" => all().into_iter().for_each(|id| cluster.stabilize(id)),
        "overflow" => all().into_iter().for_each(|id| cluster.overflow(id)),
        "crash" => all().into_iter().for_each(|id| cluster.crash(id)),
        "wipe" => cluster.wipe(member(0)),
        "start" => all().into_iter().for_each(|id| cluster.start(id)),
        "cut" => args.iter().for_each(|link| {
            let (from, to) = link.split_once('>').unwrap_or_else(|| panic!("{place}: a link?"));
            for from in members(cluster, from, place) {
                members(cluster, to, place).into_iter().for_each(|to| cluster.cut(from, to));
            }
        }),
        "heal" => cluster.heal(),
        "disk" => answers.extend(cluster.member(member(0)).disk.iter().map(ToString::to_string)),
        "show" => answers.extend(cluster.ids().into_iter().map(|id| show(cluster, id))),
        _ => panic!("{place}: no such command"),
    }
}

/// One member, or all if the word is `*`.
fn members(cluster: &Cluster, word: &str, place: &str) -> Vec<ReplicaId> {
    if word == "*" { cluster.ids() } else { vec![member(word, place)] }
}

/// The messages that match `[FROM>TO] [word ...]`, taken off the network. `*` is anybody; a word
/// matches if it is a word of the message.
fn take_matching(cluster: &mut Cluster, args: &[&str], place: &str) -> Vec<Envelope> {
    let (link, words) = match args.split_first() {
        Some((first, words)) if first.contains('>') => (first.split_once('>'), words),
        _ => (None, args),
    };
    let (from, to) = link.unwrap_or(("*", "*"));
    let is = |word: &str, id: ReplicaId| word == "*" || member(word, place) == id;
    let (matching, rest): (Vec<_>, Vec<_>) =
        std::mem::take(&mut cluster.network).into_iter().partition(|envelope| {
            let text = envelope.message.to_string();
            is(from, envelope.from.id)
                && is(to, envelope.to)
                && words.iter().all(|word| text.split_whitespace().any(|w| w == *word))
        });
    cluster.network = rest;
    assert!(!matching.is_empty(), "{place}: no such message is on its way");
    matching
}

fn show(cluster: &Cluster, id: ReplicaId) -> String {
    if !cluster.runs(id) {
        return format!("{id}: down");
    }
    let replica = cluster.replica(id);
    let role = match replica.leader() {
        Some(ballot) if replica.is_leader() => format!("leads in {ballot}"),
        Some(ballot) => format!("follows {ballot}"),
        None => String::from("no leader"),
    };
    let applied: Vec<_> = cluster.member(id).applied.iter().map(ToString::to_string).collect();
    format!("{id}: {role}, promised {}, applied {}", replica.promised(), applied.join(" "))
}

fn member(word: &str, place: &str) -> ReplicaId {
    id(number(word, place))
}

fn number(word: &str, place: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{place}: {word} is no number"))
}

fn span(word: &str, place: &str) -> Duration {
    let millis = word.strip_suffix("ms").unwrap_or_else(|| panic!("{place}: {word} has no ms"));
    Duration::from_millis(number(millis, place))
}
