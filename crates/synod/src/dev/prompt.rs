//! The prompt of `synod dev`: commands from a terminal, or lines from a pipe.
//!
//! Reading blocks, so it has its own thread, which hands over one command at a time and waits until
//! it is done. When the input ends the cluster goes on: a pipe may close early.

use std::io::{self, IsTerminal, Write};
use std::thread;

use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::sync::{mpsc, oneshot};

/// What can be asked for.
pub(super) const HELP: &str = "\
kill N     end member N at once, as a power cut would
start N    start member N again; it finds its data
pause N    stop the clock of member N
resume N   let it go on
status     what each member does
quit       stop all";

/// Something asked for at the prompt. Members count from 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Command {
    Kill(usize),
    Start(usize),
    Pause(usize),
    Resume(usize),
    Status,
    Help,
    Quit,
}

impl Command {
    /// Understands a line; nothing for an empty one.
    fn parse(line: &str) -> Result<Option<Self>, String> {
        let words: Vec<_> = line.split_whitespace().collect();
        let of_member = |command: fn(usize) -> Self, member: &str| {
            let at = member.trim_start_matches('m').parse();
            let at = at.map_err(|_| format!("{member:?} is not the number of a member"))?;
            Ok(Some(command(at)))
        };
        match words.as_slice() {
            [] => Ok(None),
            ["kill", member] => of_member(Self::Kill, member),
            ["start", member] => of_member(Self::Start, member),
            ["pause", member] => of_member(Self::Pause, member),
            ["resume", member] => of_member(Self::Resume, member),
            ["status"] => Ok(Some(Self::Status)),
            ["help"] => Ok(Some(Self::Help)),
            ["quit" | "exit"] => Ok(Some(Self::Quit)),
            _ => Err(format!("{:?} is not understood; help lists what is", line.trim())),
        }
    }

    /// The member it is about.
    pub(super) const fn member(self) -> Option<usize> {
        match self {
            Self::Kill(at) | Self::Start(at) | Self::Pause(at) | Self::Resume(at) => Some(at),
            Self::Status | Self::Help | Self::Quit => None,
        }
    }
}

/// A line understood or not, and whom to tell that it is done.
type Asked = (Result<Command, String>, oneshot::Sender<()>);

/// The end of the prompt that gives commands.
pub(super) struct Prompt {
    asked: mpsc::Receiver<Asked>,
    printer: Box<dyn ExternalPrinter + Send>,
}

/// Prints where there is no line being edited.
struct PlainPrinter;

impl ExternalPrinter for PlainPrinter {
    fn print(&mut self, text: String) -> rustyline::Result<()> {
        writeln!(io::stdout(), "{text}")?;
        Ok(())
    }
}

impl Prompt {
    /// Starts to read.
    pub(super) fn open() -> Self {
        let (ask, asked) = mpsc::channel(1);
        if io::stdin().is_terminal()
            && let Ok(mut editor) = DefaultEditor::new()
        {
            let printer = editor.create_external_printer();
            thread::spawn(move || edit(&mut editor, &ask));
            return match printer {
                Ok(printer) => Self { asked, printer: Box::new(printer) },
                Err(_) => Self { asked, printer: Box::new(PlainPrinter) },
            };
        }
        thread::spawn(move || {
            for line in io::stdin().lines().map_while(Result::ok) {
                if !obeyed(&line, &ask) {
                    return;
                }
            }
        });
        Self { asked, printer: Box::new(PlainPrinter) }
    }

    /// The next command. Nothing once the input has ended.
    pub(super) async fn next(&mut self) -> Option<Asked> {
        self.asked.recv().await
    }

    /// Prints something beside what is being typed.
    pub(super) fn print(&mut self, text: String) {
        // A terminal that is gone needs no news.
        drop(self.printer.print(text));
    }
}

fn edit(editor: &mut DefaultEditor, ask: &mpsc::Sender<Asked>) {
    loop {
        let line = match editor.readline("synod> ") {
            Ok(line) => line,
            // In raw mode Ctrl-C and Ctrl-D come as input.
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => "quit".to_owned(),
            Err(_) => return,
        };
        // A line that cannot be remembered still counts.
        drop(editor.add_history_entry(&line));
        if !obeyed(&line, ask) {
            return;
        }
    }
}

/// Hands a line over and waits until it is done; whether there may be another.
fn obeyed(line: &str, ask: &mpsc::Sender<Asked>) -> bool {
    let command = match Command::parse(line) {
        Ok(None) => return true,
        Ok(Some(command)) => Ok(command),
        Err(error) => Err(error),
    };
    let (done, is_done) = oneshot::channel();
    ask.blocking_send((command, done)).is_ok() && is_done.blocking_recv().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let table = [
            ("", Ok(None)),
            ("  kill  2 ", Ok(Some(Command::Kill(2)))),
            ("start m3", Ok(Some(Command::Start(3)))),
            ("pause 1", Ok(Some(Command::Pause(1)))),
            ("resume 1", Ok(Some(Command::Resume(1)))),
            ("status", Ok(Some(Command::Status))),
            ("help", Ok(Some(Command::Help))),
            ("exit", Ok(Some(Command::Quit))),
            ("kill", Err("\"kill\" is not understood; help lists what is")),
            ("kill all", Err("\"all\" is not the number of a member")),
            ("start -1", Err("\"-1\" is not the number of a member")),
        ];
        for (line, expected) in table {
            assert_eq!(Command::parse(line), expected.map_err(str::to_owned), "{line:?}");
        }
    }
}
