//! A program that is called `etcd` is the server.

use std::ffi::OsString;
use std::path::Path;

/// Rewrites the arguments into those of `synod`: a program called `etcd` is `synod server`.
///
/// What follows `server` is not looked at here: those are etcd's flags, and begin with one dash or
/// two. They are set apart, so that none is taken for one of `synod`.
pub(crate) fn rewrite(args: Vec<OsString>) -> Vec<OsString> {
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_else(|| OsString::from("synod"));
    let mut rest: Vec<_> = args.collect();
    if Path::new(&program).file_name().is_some_and(|name| name == "etcd") {
        rest.insert(0, OsString::from("server"));
    }
    if rest.first().is_some_and(|command| command == "server") {
        rest.insert(1, OsString::from("--"));
    }
    rest.insert(0, program);
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_called_etcd_is_the_server() {
        let table = [
            ("synod server -name a --data-dir d", "synod server -- -name a --data-dir d"),
            ("synod get -w json k", "synod get -w json k"),
            ("/usr/bin/etcd -name a", "/usr/bin/etcd server -- -name a"),
            ("etcd --version", "etcd server -- --version"),
            ("etcd", "etcd server --"),
            ("synod", "synod"),
        ];
        for (given, expected) in table {
            let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
            assert_eq!(rewrite(words(given)), words(expected), "{given}");
        }
    }
}
