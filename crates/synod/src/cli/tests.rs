//! Which command lines are understood, and which are not.

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

fn parse(line: &str) -> Result<Cli, ErrorKind> {
    Cli::try_parse_from(line.split(' ')).map_err(|error| error.kind())
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn command_lines() {
    let table: &[(&str, Option<ErrorKind>)] = &[
        ("synod put k v", None),
        ("synod put k", None),
        ("synod put k v --lease 1f --prev-kv -w json", None),
        ("synod put k v --lease xyz", Some(ErrorKind::ValueValidation)),
        ("synod put k v --ignore-value", Some(ErrorKind::ArgumentConflict)),
        ("synod put", Some(ErrorKind::MissingRequiredArgument)),
        ("synod get k", None),
        ("synod get k --prefix --limit 3 --sort-by MODIFY --order DESCEND --rev 7", None),
        ("synod get k --consistency s", None),
        ("synod get k --consistency x", Some(ErrorKind::InvalidValue)),
        ("synod get k l --prefix", Some(ErrorKind::ArgumentConflict)),
        ("synod get k --prefix --from-key", Some(ErrorKind::ArgumentConflict)),
        ("synod get k --nosuchflag", Some(ErrorKind::UnknownArgument)),
        ("synod del k --prefix --prev-kv", None),
        ("synod txn --output json", None),
        ("synod compact 7 --physical", None),
        ("synod compact seven", Some(ErrorKind::ValueValidation)),
        ("synod status --endpoints a:1,b:2", None),
        ("synod member list --command-timeout 300ms", None),
        ("synod member list --timeout soon", Some(ErrorKind::ValueValidation)),
        ("synod bench put --clients 4 --total 100", None),
        ("synod bench get --clients 4 --duration 3s --serializable", None),
        ("synod bench put --total 9 --duration 3s", Some(ErrorKind::ArgumentConflict)),
        ("synod bench put --clients 0", Some(ErrorKind::ValueValidation)),
        ("synod wal inspect folder --json", None),
        ("synod dev --data-dir d", None),
        ("synod version", None),
        ("synod server -- -name a --nosuchflag", None),
        ("synod nosuchcommand", Some(ErrorKind::InvalidSubcommand)),
    ];
    for (line, error) in table {
        assert_eq!(parse(line).err(), *error, "{line}");
    }
}

#[test]
fn endpoints_are_separated_by_commas() {
    let Ok(Cli { command: Command::Status(_) }) = parse("synod status") else {
        panic!("not a status");
    };
    let args = |line: &str| {
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            client: ClientArgs,
        }
        Only::try_parse_from(line.split(' ')).unwrap().client
    };
    assert_eq!(args("x --endpoints a:1,b:2").endpoints, ["a:1", "b:2"]);
}

#[test]
fn times() {
    for (text, millis) in [("300ms", 300), ("5s", 5000), ("2m", 120_000), ("0s", 0)] {
        assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
    }
    for text in ["", "5", "s", "5h", "-1s", "1.5s", "99999999999999999999s", "9999999999999999m"] {
        assert!(duration(text).is_err(), "{text}");
    }
}
