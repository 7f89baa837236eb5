//! Plays a [`Scenario`] on a cluster: everything that `etcdctl` said becomes one text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::scenario::{Ending, Scenario, Shown, Step};
use super::shown;
use crate::cluster::MEMBERS;
use crate::compare::Side;
use crate::etcdctl::Answer;
use crate::process::bound_to_us;

/// The longest wait for a text or an end.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// The longest that a check may run; `check perf` takes a minute by design.
const CHECK_MAX: Duration = Duration::from_secs(90);

/// Words of commands that tell about members in an order of chance.
const ANY_ORDER: &[&str] = &["member", "health", "--cluster"];

/// What stands in the text where something was waited for in vain.
pub const IN_VAIN: &str = "NOT SEEN";

/// Plays a scenario and gives its text, made comparable. It ends where it cannot go on.
pub async fn play(scenario: &Scenario, side: &mut Side, folder: &Path) -> anyhow::Result<String> {
    let mut player = Player {
        folder: tempfile::tempdir_in(folder)?.keep(),
        side,
        asked: Some(0),
        then: None,
        jobs: BTreeMap::new(),
        text: String::new(),
    };
    for step in &scenario.steps {
        if let Err(error) = player.step(step).await {
            player.text.push_str(&format!("{IN_VAIN}: {step:?}: {error:#}\n"));
            break;
        }
    }
    let folder = player.folder;
    let text = shown::long_numbers_named(&player.text);
    std::fs::remove_dir_all(folder)?;
    Ok(text)
}

struct Player<'a> {
    side: &'a mut Side,
    folder: PathBuf,
    /// The member that is asked; none means all.
    asked: Option<usize>,
    /// A revision that was remembered.
    then: Option<i64>,
    jobs: BTreeMap<String, Job>,
    text: String,
}

impl Player<'_> {
    async fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Ask(member) => self.asked = *member,
            Step::Remember => self.then = Some(self.side.settle(self.asked.unwrap_or(0)).await?),
            Step::Run(words, shown) => {
                let words = self.words(words).await?;
                let mut job = self.start(&words)?;
                drop(job.child.stdin.take());
                let at_most = if *shown == Shown::Checks { CHECK_MAX } else { WAIT_MAX };
                let answer = job.end(Ending::Itself, at_most).await?;
                self.add(&format!("$ {}", words.join(" ")), &words, &answer, *shown);
            }
            Step::Start(name, words) => {
                let words = self.words(words).await?;
                let job = self.start(&words)?;
                self.text.push_str(&self.named(&format!("{name}& {}\n", words.join(" "))));
                self.jobs.insert(name.clone(), job);
            }
            Step::Feed(name, line) => {
                let line = self.substituted(line).await?;
                let stdin = self.job(name)?.child.stdin.as_mut().context("its input is closed")?;
                // One that has ended reads no more; its own end tells.
                let _ = stdin.write_all(format!("{line}\n").as_bytes()).await;
                let _ = stdin.flush().await;
            }
            Step::Await(name, text) => {
                let wanted = self.substituted(text).await?;
                if !self.job(name)?.has_printed(&wanted).await {
                    self.text.push_str(&format!("{name}: {IN_VAIN}: {text}\n"));
                }
            }
            Step::End(name, ending) => {
                let mut job = self.jobs.remove(name).with_context(|| format!("no {name}"))?;
                let mut answer = job.end(*ending, WAIT_MAX).await?;
                if *ending == Ending::Interrupt {
                    answer.stderr = shown::without_warnings(&answer.stderr);
                }
                let words = std::mem::take(&mut job.words);
                self.add(&format!("{name}."), &words, &answer, Shown::Whole);
            }
        }
        Ok(())
    }

    fn job(&mut self, name: &str) -> anyhow::Result<&mut Job> {
        self.jobs.get_mut(name).with_context(|| format!("no {name} runs"))
    }

    fn add(&mut self, head: &str, words: &[String], answer: &Said, how: Shown) {
        let stdout = shown::stdout(words, &answer.stdout);
        let stderr = String::from_utf8_lossy(&answer.stderr).into_owned();
        let any_order = words.iter().any(|word| ANY_ORDER.contains(&word.as_str()));
        let answer = Answer { stdout, stderr, code: answer.code };
        let answer = self.side.names().apply(&answer, any_order);
        let all = format!("{}\n{}\nexit {}\n", answer.stdout, answer.stderr, answer.code);
        let mut all = shown::tables(&self.named(&all));
        if any_order {
            // Once more: a table's rows were as wide as the ids in them.
            let mut lines: Vec<&str> = all.lines().collect();
            lines.sort_unstable();
            all = lines.join("\n") + "\n";
        }
        let head = self.named(head);
        let block = match how {
            Shown::Whole => format!("{head}\n{all}"),
            Shown::WithoutNumbers => shown::without_numbers(&format!("{head}\n{all}")),
            Shown::Checks => format!("{head}\n{}", shown::checks(&all)),
        };
        self.text.push_str(&block);
    }

    /// The text without this cluster's own ports, ids and folders.
    fn named(&self, text: &str) -> String {
        self.side.names().replace(text).replace(&*self.folder.to_string_lossy(), "FOLDER")
    }

    async fn words(&mut self, words: &[String]) -> anyhow::Result<Vec<String>> {
        let mut result = Vec::new();
        for word in words {
            result.push(self.substituted(word).await?);
        }
        Ok(result)
    }

    async fn substituted(&mut self, text: &str) -> anyhow::Result<String> {
        let mut text = text.replace("{FOLDER}", &self.folder.to_string_lossy());
        text = text.replace("{ALL}", &self.side.cluster().urls());
        text = text.replace("{MEMBER}", &self.side.cluster().url(self.asked.unwrap_or(0)));
        if text.contains("{LEADER}") {
            let leader = self.side.cluster().leader().await?;
            text = text.replace("{LEADER}", &without_scheme(&self.side.cluster().url(leader)));
        }
        if text.contains("{FOLLOWER}") {
            let leader = self.side.cluster().leader().await?;
            let status = self.side.cluster().status((leader + 1) % MEMBERS).await?;
            let id = status.header.context("a status without a header")?.member_id;
            text = text.replace("{FOLLOWER}", &format!("{id:x}"));
        }
        for (at, number) in shown::long_numbers(&self.text).iter().enumerate() {
            text = text.replace(&format!("{{id{}}}", at + 1), number);
        }
        if let Some(then) = self.then {
            text = text.replace("{then}", &then.to_string());
        }
        if text.contains("{rev") {
            let revision = self.side.settle(self.asked.unwrap_or(0)).await?;
            text = crate::commands::substitute(&text, revision)?;
        }
        Ok(text)
    }

    fn start(&self, words: &[String]) -> anyhow::Result<Job> {
        let cluster = self.side.cluster();
        let endpoints = self.asked.map_or_else(|| cluster.urls(), |member| cluster.url(member));
        let endpoints = without_scheme(&endpoints);
        let mut command = Command::from(bound_to_us(self.side.etcdctl()));
        if !words.iter().any(|word| word.starts_with("--endpoints")) {
            command.arg(format!("--endpoints={endpoints}"));
        }
        command
            .env("ETCDCTL_API", "3")
            .args(words)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Job::new(command.spawn().context("starting etcdctl")?, words.to_vec())
    }
}

/// Endpoints as `etcdctl` has them by default; one scenario gives the scheme.
fn without_scheme(urls: &str) -> String {
    urls.replace("http://", "")
}

/// All that a command said.
struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    code: i32,
}

/// A command that runs, and what it has printed.
struct Job {
    child: Child,
    words: Vec<String>,
    stdout: Stream,
    stderr: Stream,
    /// Up to where its output was waited for.
    seen: usize,
}

impl Job {
    fn new(mut child: Child, words: Vec<String>) -> anyhow::Result<Self> {
        let stdout = Stream::new(child.stdout.take().context("its output is piped")?);
        let stderr = Stream::new(child.stderr.take().context("its output is piped")?);
        Ok(Self { child, words, stdout, stderr, seen: 0 })
    }

    /// Waits until it prints a text; tells whether it did before it ended.
    async fn has_printed(&mut self, wanted: &str) -> bool {
        let wait = async {
            loop {
                let more = self.stdout.more.notified();
                let ended = self.stdout.reader.is_finished();
                let text = self.stdout.text();
                let rest = text.get(self.seen..).unwrap_or_default();
                if let Some(at) = rest.find(wanted) {
                    self.seen += at + wanted.len();
                    return true;
                }
                if ended {
                    return false;
                }
                // The reader ends without a note; looking again is cheap.
                let _ = tokio::time::timeout(Duration::from_millis(50), more).await;
            }
        };
        tokio::time::timeout(WAIT_MAX, wait).await.unwrap_or(false)
    }

    /// Waits until it prints nothing more: an event is printed in several pieces, of which a
    /// scenario waits for one.
    async fn be_quiet(&self) {
        const QUIET: Duration = Duration::from_millis(100);
        for _ in 0..20 {
            let before = self.stdout.bytes().len();
            tokio::time::sleep(QUIET).await;
            if self.stdout.bytes().len() == before {
                return;
            }
        }
    }

    async fn end(&mut self, ending: Ending, at_most: Duration) -> anyhow::Result<Said> {
        if ending == Ending::Interrupt {
            self.be_quiet().await;
        }
        if let Some(id) = self.child.id().filter(|_| ending == Ending::Interrupt) {
            let id = Pid::from_raw(i32::try_from(id)?).context("a process id of zero")?;
            // It may have ended by itself between the two lines.
            let _ = rustix::process::kill_process(id, Signal::INT);
        }
        // Waiting would close its input, which can end it before the signal does.
        let held = self.child.stdin.take().filter(|_| ending == Ending::Interrupt);
        let Ok(status) = tokio::time::timeout(at_most, self.child.wait()).await else {
            self.child.kill().await?;
            bail!("{} still runs after {at_most:?}", self.words.join(" "));
        };
        drop(held);
        // What its own children hold open ends with them; a second is enough to read the rest.
        for stream in [&mut self.stdout, &mut self.stderr] {
            let _ = tokio::time::timeout(Duration::from_secs(1), &mut stream.reader).await;
        }
        let code = status?.code().unwrap_or(-1);
        Ok(Said { stdout: self.stdout.bytes(), stderr: self.stderr.bytes(), code })
    }
}

/// One of a command's output streams, read as it comes.
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    more: Arc<Notify>,
    reader: JoinHandle<()>,
}

impl Stream {
    fn new(from: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (bytes, more) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let reader = tokio::spawn(read(from, bytes.clone(), more.clone()));
        Self { bytes, more, reader }
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock()).into_owned()
    }
}

async fn read(mut from: impl AsyncRead + Unpin, bytes: Arc<Mutex<Vec<u8>>>, more: Arc<Notify>) {
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        bytes.lock().extend_from_slice(&chunk[..count]);
        more.notify_one();
    }
}
