//! The arguments as etcd takes them: `-flag` for `--flag`, and a program that is called `etcd`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Rewrites the arguments into those of `synod`.
///
/// * A program called `etcd` is `synod server`; its `--version` is `synod version`.
/// * What follows `server` may be written with one dash. Elsewhere one dash begins a short flag.
pub(crate) fn rewrite(args: Vec<OsString>) -> Vec<OsString> {
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_else(|| OsString::from("synod"));
    let mut rest: Vec<_> = args.collect();
    if Path::new(&program).file_name().is_some_and(|name| name == "etcd") {
        let asks_version = rest.iter().any(|arg| arg == "--version" || arg == "-version");
        let command = if asks_version { "version" } else { "server" };
        if asks_version {
            rest.clear();
        }
        rest.insert(0, OsString::from(command));
    }
    if rest.first().is_some_and(|command| command == "server") {
        rest = rest.into_iter().map(two_dashes).collect();
    }
    rest.insert(0, program);
    rest
}

fn two_dashes(arg: OsString) -> OsString {
    match arg.as_bytes() {
        [b'-', second, _, ..] if *second != b'-' => {
            OsString::from_vec([b"-", arg.as_bytes()].concat())
        }
        _ => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dash_is_as_good_as_two() {
        let table = [
            ("synod server -name a --data-dir d", "synod server --name a --data-dir d"),
            ("synod server -name=a -h", "synod server --name=a -h"),
            ("synod get -w json k", "synod get -w json k"),
            ("/usr/bin/etcd -name a", "/usr/bin/etcd server --name a"),
            ("etcd --version", "etcd version"),
            ("etcd", "etcd server"),
            ("synod", "synod"),
        ];
        for (given, expected) in table {
            let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
            assert_eq!(rewrite(words(given)), words(expected), "{given}");
        }
    }
}
