//! The command line, where the parser needs help: `--wait 5s`, and a lock file in the place of its data
//! file.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use rvlf::lock_path_for;
use rvlf::record::{DecodeError, Record};

use crate::escape::shell_path;
use crate::lock_bytes::{self, Contents};
use crate::target::Target;
use crate::time;

/// Options of `run` and `hold` whose value is the next argument: letters, and words.
const SHORT_WITH_VALUE: &[u8] = b"wE";
const LONG_WITH_VALUE: [&str; 6] = [
    "--timeout",
    "--conflict-exit-code",
    "--on-lost",
    "--for",
    "--lease",
    "--wait",
];

/// Joins `--wait 5s` of `run` and `hold` into `--wait=5s`. The value of the option is optional, and the parser would
/// take the data file of `--wait DATA` for it.
pub fn with_joined_wait(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args = args.into_iter().peekable();
    let mut joined: Vec<OsString> = args.by_ref().take(2).collect();
    let verbs = ["run", "hold", "keep"];
    if joined
        .get(1)
        .is_none_or(|verb| verbs.iter().all(|known| verb != known))
    {
        joined.extend(args);
        return joined;
    }
    // The second word that is no option begins COMMAND.
    let mut words = 0;
    while let Some(arg) = args.next_if(|arg| words < 2 && arg != "--") {
        let is_wait = arg == "--wait";
        let takes_value = takes_value(&arg);
        words += usize::from(!arg.as_encoded_bytes().starts_with(b"-"));
        let value = args.next_if(|next| takes_value && (!is_wait || is_duration(next)));
        match value {
            Some(value) if is_wait => {
                let mut option = arg;
                option.push("=");
                option.push(value);
                joined.push(option);
            }
            value => {
                joined.push(arg);
                joined.extend(value);
            }
        }
    }
    joined.extend(args);
    joined
}

/// Whether the value of the option is the next argument. The first letter of a bundle that takes a value ends the
/// bundle: what follows it is the value (`-E9`).
fn takes_value(arg: &OsStr) -> bool {
    match arg.as_encoded_bytes() {
        [b'-', b'-', ..] => LONG_WITH_VALUE.iter().any(|option| arg == *option),
        [b'-', letters @ ..] => {
            let first = letters.iter().position(|it| SHORT_WITH_VALUE.contains(it));
            first.is_some_and(|first| first + 1 == letters.len())
        }
        _ => false,
    }
}

fn is_duration(arg: &OsStr) -> bool {
    arg.to_str()
        .is_some_and(|text| time::parse_duration(text).is_ok())
}

/// Adds to a usage error what to type instead.
pub fn with_advice(mut error: clap::Error, args: &[OsString]) -> clap::Error {
    // clap proposes `-- -1` for every word that begins with a hyphen: here no file has such a name, and no option
    // takes such a value.
    error.remove(ContextKind::Suggested);
    match line_to_type(&error, args) {
        Some(line) => {
            let advice = ContextValue::StyledStrs(vec![line.into()]);
            error.insert(ContextKind::Suggested, advice);
            error
        }
        None => error,
    }
}

fn line_to_type(error: &clap::Error, args: &[OsString]) -> Option<String> {
    if let Some(ContextValue::String(verb)) = error.get(ContextKind::InvalidSubcommand) {
        // The verbs of `rvlf table` have other names elsewhere, too, and other data.
        args.get(1).filter(|word| *word == verb.as_str())?;
        return verb_of_other_tools(verb).or_else(|| verb_before(verb, args));
    }
    let lacks = error.get(ContextKind::InvalidArg).map(ToString::to_string);
    if error.kind() == ErrorKind::UnknownArgument && args.get(1).is_some_and(|verb| verb == "run") {
        return option_of_flock(&lacks?);
    }
    let lacks_command =
        lacks.is_some_and(|lacks| lacks.contains("COMMAND") && !lacks.contains("DATA"));
    let data = shell_path(first_word(args).filter(|_| lacks_command)?.as_ref());
    Some(format!(
        "to run a command under the lock of {data}: rvlf run {data} COMMAND"
    ))
}

/// What an option of flock(1) is here.
fn option_of_flock(option: &str) -> Option<String> {
    let line = match option {
        "-c" | "--command" => "for shell syntax: rvlf run DATA sh -c '...'",
        "-e" | "-x" | "--exclusive" => "the lock is always exclusive: leave the option out",
        "-s" | "--shared" => "there are no shared locks, and readers need none",
        _ => return None,
    };
    Some(line.to_owned())
}

/// What other tools call our verbs.
fn verb_of_other_tools(verb: &str) -> Option<String> {
    let line = match verb {
        "list" | "ls" | "ps" => "to list the locks that are held: rvlf scan",
        "version" => "to print the version: rvlf --version",
        "check" | "info" | "inspect" | "show" => "to see who holds the lock: rvlf status DATA",
        "exec" | "lock" => "to run a command under the lock: rvlf run DATA COMMAND",
        "clean" | "release" | "remove" | "rm" | "unlock" => {
            "to remove the lock that a dead holder left: rvlf break DATA"
        }
        _ => return None,
    };
    Some(line.to_owned())
}

/// The verb that is missing before the name of a data file.
fn verb_before(data: &str, args: &[OsString]) -> Option<String> {
    let is_file = data.contains(['.', '/']) || Path::new(data).exists();
    let data = shell_path(is_file.then_some(data)?.as_ref());
    Some(match args.get(2) {
        Some(_) => format!("to run a command under the lock: rvlf run {data} COMMAND"),
        None => format!("to see who holds the lock: rvlf status {data}"),
    })
}

/// The first argument of the verb that is neither an option nor the value of one. What follows `--` is no option.
fn first_word(args: &[OsString]) -> Option<&OsString> {
    let mut args = args.iter().skip(2);
    loop {
        let arg = args.next()?;
        if arg == "--" {
            return args.next();
        }
        if !arg.as_encoded_bytes().starts_with(b"-") {
            return Some(arg);
        }
        if takes_value(arg) {
            args.next();
        }
    }
}

/// The data file that an argument means: its own, or that of the lock file that it names.
///
/// Taken for a data file, `d.lock` has the lock `d.lock.lock`: `status` would report it as free while d
/// is held.
pub fn data_file(argument: &Path) -> PathBuf {
    match without_lock(argument) {
        Some(data) if is_lock_file(argument, &data) => data,
        _ => argument.to_owned(),
    }
}

/// The data of several arguments, each file once: `*` matches both d and d.lock.
pub fn data_of_all(arguments: &[Target]) -> Vec<Target> {
    let mut targets = Vec::new();
    for argument in arguments {
        let data = match argument {
            Target::File(path) => Target::File(data_file(path)),
            Target::Store(_) => argument.clone(),
        };
        // Named twice by the user, it is shown twice.
        if data == *argument || !arguments.contains(&data) && !targets.contains(&data) {
            targets.push(data);
        }
    }
    targets
}

/// The data file of a lock file, by the name: `d` for `d.lock`.
pub fn without_lock(path: &Path) -> Option<PathBuf> {
    let stem = path
        .file_stem()
        .filter(|_| path.extension() == Some("lock".as_ref()))?;
    let data = path.with_file_name(stem);
    // "..lock" and "...lock" are the lock files of no data file: "." and ".." are directories.
    (lock_path_for(&data) == path).then_some(data)
}

/// By its content; without content, `d.lock` is the lock file of a d that is there: a file, or a store that is a
/// directory.
fn is_lock_file(path: &Path, data: &Path) -> bool {
    let is_there = || data.symlink_metadata().is_ok();
    match lock_bytes::read(path) {
        Ok(Contents::Bytes(bytes)) => match Record::decode(&bytes) {
            Err(DecodeError::Foreign { .. }) => false,
            Err(DecodeError::Short { .. }) => is_there(),
            _ => true,
        },
        Ok(Contents::Irregular(_)) => false,
        Err(_) => is_there(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(line: &str) -> String {
        let args = with_joined_wait(line.split(' ').map(OsString::from));
        let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
        args.join(" ")
    }

    // A duration that becomes the data file locks a file that no writer uses.
    #[test]
    fn a_duration_after_wait_is_its_value() {
        for (line, expected) in [
            ("rvlf run --wait 5s d cmd", "rvlf run --wait=5s d cmd"),
            ("rvlf run --wait 5 d cmd", "rvlf run --wait=5 d cmd"),
            ("rvlf run --wait 1d d cmd", "rvlf run --wait=1d d cmd"),
            ("rvlf run --wait d cmd", "rvlf run --wait d cmd"),
            ("rvlf run --wait d -- cmd", "rvlf run --wait d -- cmd"),
            ("rvlf run -q --wait 5s d cmd", "rvlf run -q --wait=5s d cmd"),
            (
                "rvlf run -E 3 --wait 5s d cmd",
                "rvlf run -E 3 --wait=5s d cmd",
            ),
            // As users of flock(1) bundle options: `5s` became the command.
            (
                "rvlf run -qE 9 d --wait 5s cmd",
                "rvlf run -qE 9 d --wait=5s cmd",
            ),
            (
                "rvlf run -qE9 d --wait 5s cmd",
                "rvlf run -qE9 d --wait=5s cmd",
            ),
            (
                "rvlf run -E9 d --wait 5s cmd",
                "rvlf run -E9 d --wait=5s cmd",
            ),
            ("rvlf run d --wait 5s cmd", "rvlf run d --wait=5s cmd"),
            ("rvlf run --wait=1s d cmd", "rvlf run --wait=1s d cmd"),
        ] {
            assert_eq!(joined(line), expected, "{line}");
        }
    }

    #[test]
    fn the_arguments_of_the_command_are_left_alone() {
        for line in [
            "rvlf run d cmd --wait 5s",
            "rvlf run d -- cmd --wait 5s",
            "rvlf run -- d --wait 5s",
            "rvlf run -w 5 d cmd --wait 5s",
            "rvlf run -qw 5 d cmd --wait 5s",
            "rvlf run -w5 d cmd --wait 5s",
            "rvlf wait --timeout 5s d",
            "rvlf",
            "rvlf run --wait",
        ] {
            assert_eq!(joined(line), line);
        }
    }
}
