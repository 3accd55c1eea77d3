//! Help texts, manual pages and completion scripts.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::support::{Directory, RVLF, finish};

const VERBS: [&str; 11] = [
    "run",
    "hold",
    "status",
    "wait",
    "break",
    "dump",
    "scan",
    "diagnose",
    "table",
    "completions",
    "man",
];

/// rvlf itself, and each of its verbs.
fn pages() -> impl Iterator<Item = Option<&'static str>> {
    std::iter::once(None).chain(VERBS.map(Some))
}

fn help(dir: &Directory, verb: Option<&str>) -> String {
    let words = verb.unwrap_or_default().split_ascii_whitespace();
    let args: Vec<&str> = words.chain(["--help"]).collect();
    dir.rvlf(&args).stdout
}

fn usage(help: &str) -> &str {
    let line = help.lines().find_map(|line| line.strip_prefix("Usage: "));
    line.expect("a help text has a usage line")
}

/// Feeds a program, and returns its complaints; `None` if the program is not installed.
fn complaints(command: &mut Command, input: &str) -> Option<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let Ok(mut child) = command.stderr(Stdio::piped()).spawn() else {
        eprintln!("not checked: {command:?} is not installed");
        return None;
    };
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let written = stdin.write_all(input.as_bytes());
    written.expect("the program reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("the child is not reaped");
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {complaints}");
    Some(complaints)
}

// A help text that is kept in a file on a full disk was empty, with status 0.
#[test]
fn a_help_text_that_cannot_be_written_is_a_failure() {
    let dir = Directory::new();
    for page in ["--help", "--version", "help"] {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut command = Command::new(RVLF);
        command.current_dir(dir.path()).arg(page);
        let output = command
            .stdout(full.expect("the device exists"))
            .output()
            .expect("rvlf can be executed");
        assert_eq!(output.status.code(), Some(5), "{page}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("standard output"), "{page}: {text}");
    }
}

// `rvlf run` is parsed without the other verbs.
#[test]
fn run_is_described_alike_alone_and_among_the_verbs() {
    let dir = Directory::new();
    let alone = dir.rvlf(&["run", "--help"]);
    let among_all = dir.rvlf(&["help", "run"]);
    assert_eq!(alone.stdout, among_all.stdout);
    let refused = dir.rvlf(&["run", "--no-such-option"]);
    assert!(
        refused.stderr.contains("Usage: rvlf run "),
        "{}",
        refused.stderr
    );
}

// Packages install these. A script that does not parse breaks every new shell.
#[test]
fn completions_parse() {
    let dir = Directory::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = dir.rvlf(&["completions", shell]);
        assert_eq!(output.code(), 0, "{shell}: {}", output.stderr);
        let script = output.stdout;
        assert!(script.contains("no-keepalive"), "{shell}: the options");
        assert!(!script.contains("gated"), "{shell}: a hidden verb");
        if ["bash", "zsh", "fish"].contains(&shell) {
            let complaints = complaints(Command::new(shell).arg("-n"), &script);
            assert_eq!(complaints.unwrap_or_default(), "", "{shell}");
        }
    }
}

/// What a shell with the completion script offers at the end of a line. `None` if it is not installed.
fn offered(shell: &str, words: &[&str]) -> Option<String> {
    let program = match shell {
        "bash" => {
            r#"source <("$RVLF" completions bash)
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            _rvlf_with_command rvlf "${COMP_WORDS[COMP_CWORD]}"
            printf '%s\n' "${COMPREPLY[@]}""#
        }
        _ => r#""$RVLF" completions fish | source; complete -C "$argv""#,
    };
    let mut command = Command::new(shell);
    match shell {
        "bash" => command.args(["-c", program, "bash"]),
        _ => command.args(["--no-config", "-c", program]),
    };
    let output = command.args(words).env("RVLF", RVLF).output();
    let Ok(output) = output else {
        eprintln!("not checked: {shell} is not installed");
        return None;
    };
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!(complaints, "", "{shell}: {words:?}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

// Wrapped by rvlf, a command that is typed every day was no longer completed.
#[test]
fn completions_offer_commands_after_the_data_file() {
    for shell in ["bash", "fish"] {
        for options in [
            &[][..],
            &["-q"],
            &["-w", "5"],
            &["--wait"],
            &["--wait", "5s"],
        ] {
            for separator in [&[][..], &["--"]] {
                let start = [&["rvlf", "run"], options].concat();
                let words = [&start[..], &["d.rvf"], separator, &["gre"]].concat();
                let is_offered = |words: &[&str], word: &str| {
                    offered(shell, words).is_none_or(|offered| {
                        offered
                            .lines()
                            .any(|line| line.split('\t').next() == Some(word))
                    })
                };
                assert!(is_offered(&words, "grep"), "{shell}: {words:?}");
                let options = [&start[..], &["--on-l"]].concat();
                assert!(is_offered(&options, "--on-lost"), "{shell}: {options:?}");
            }
        }
        let data = offered(shell, &["rvlf", "run", "gre"]).unwrap_or_default();
        assert!(
            !data.contains("grep"),
            "{shell}: DATA is no command: {data}"
        );
    }
}

// bash offered `rvlf hold --keeper`, which holds a lock that no script knows of.
#[test]
fn completions_offer_nothing_that_the_help_hides() {
    let dir = Directory::new();
    let help = dir.rvlf(&["hold", "--help"]).stdout;
    for shell in ["bash", "fish", "zsh"] {
        let script = dir.rvlf(&["completions", shell]).stdout;
        let options = script.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let of_hold = options.filter(|word| word.starts_with("--keep"));
        for option in of_hold {
            assert!(help.contains(option), "{shell}: {option}");
        }
        for verb in [
            "rvlf__guard",
            "rvlf__keep",
            "rvlf__gated",
            "-a \"keep\"",
            "(keep)",
        ] {
            assert!(!script.contains(verb), "{shell}: {verb}");
        }
    }
}

/// Types each argument and the tab key on a terminal, and prints the line that results.
const TYPE_IN_ZSH: &str = r#"
zmodload zsh/zpty
zpty -b terminal zsh -f -i
zpty -w terminal 'show() { print -r -- "<$BUFFER>"; zle kill-buffer }; zle -N show; bindkey "^X" show
    bindkey "^I" complete-word; fpath=($PWD $fpath); autoload -Uz compinit; compinit -D -u'
for line in "$@"; do
    zpty -w -n terminal "$line"$'\t\C-x'
    zpty -r -m terminal shown "*<${line%% *} *>*"
    print -r -- "$shown"
done
zpty -d terminal
"#;

// zsh completes on a terminal only.
#[test]
fn the_completion_of_zsh_offers_commands_after_the_data_file() {
    let dir = Directory::new();
    let script = dir.rvlf(&["completions", "zsh"]).stdout;
    dir.write("_rvlf", script);
    dir.write_program("lonely-command", "");
    let lines = [
        "rvlf run d lonely-co",
        "rvlf run d -- lonely-co",
        "rvlf run -w 5 d lonely-co",
        "rvlf run --wait d lonely-co",
        "rvlf run d env lonely-co",
    ];
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("zsh");
    command
        .args(["-f", "-c", TYPE_IN_ZSH, "zsh"])
        .args(lines)
        .current_dir(dir.path())
        .env("PATH", format!("{}:{path}", dir.path().display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if Command::new("zsh").arg("--version").output().is_err() {
        eprintln!("not checked: zsh is not installed");
        return;
    }
    let shown = finish(command).stdout;
    for line in lines {
        let completed = format!("<{line}mmand");
        assert!(shown.contains(&completed), "{completed} is not in {shown}");
    }
}

#[test]
fn every_verb_of_table_has_a_manual_page() {
    let dir = Directory::new();
    for verb in ["list", "check", "reclaim", "release"] {
        let page = dir.rvlf(&["man", "table", verb]);
        let title = format!(".TH rvlf-table-{verb} 1");
        assert!(page.stdout.contains(&title), "{verb}: {}", page.stdout);
        // By the name of the page.
        let same = dir.rvlf(&["man", &format!("table-{verb}")]);
        assert_eq!(same.stdout, page.stdout, "{verb}: {}", same.stderr);
    }
}

// The reader of `man rvlf-run` at three in the morning wants the exit statuses.
#[test]
fn manual_pages_are_well_formed() {
    let dir = Directory::new();
    for verb in pages() {
        let args: Vec<&str> = std::iter::once("man").chain(verb).collect();
        let output = dir.rvlf(&args);
        assert_eq!(output.code(), 0, "{verb:?}: {}", output.stderr);
        let page = output.stdout;
        let name = verb.map_or("rvlf".to_owned(), |verb| format!("rvlf-{verb}"));
        assert!(page.contains(&format!(".TH {name} 1")), "{verb:?}: {page}");
        for section in ["NAME", "SYNOPSIS", "EXAMPLES", "\"EXIT STATUS\""] {
            let heading = format!(".SH {section}");
            assert!(page.contains(&heading), "{verb:?} has {section}");
        }
        let help = help(&dir, verb);
        let usage = usage(&help);
        let synopsis = format!(".SH SYNOPSIS\n{}\n", usage.replace('-', "\\-"));
        assert!(page.contains(&synopsis), "{synopsis} is not in {page}");
        let mut groff = Command::new("groff");
        let complaints = complaints(groff.args(["-man", "-Tutf8", "-ww"]), &page);
        assert_eq!(complaints.unwrap_or_default(), "", "{verb:?}");
    }
}

#[test]
fn every_help_text_has_examples_and_exit_statuses() {
    let dir = Directory::new();
    for verb in pages() {
        for flag in ["--help", "-h"] {
            let args: Vec<&str> = verb.into_iter().chain([flag]).collect();
            let output = dir.rvlf(&args);
            assert_eq!(output.code(), 0, "{args:?}");
            let help = output.stdout;
            assert!(help.contains("\nEXAMPLES\n"), "{args:?}: {help}");
            assert!(help.contains("\nEXIT STATUS\n"), "{args:?}: {help}");
        }
    }
}

// `rvlf completions bash | head -1`: a reader that closes the pipe early is not an error.
#[test]
fn a_closed_pipe_at_standard_output_is_not_an_error() {
    let dir = Directory::new();
    let many: Vec<String> = (0..20_000).map(|number| format!("data-{number}")).collect();
    let verbs: [&[&str]; 4] = [
        &["completions", "bash"],
        &["man", "run"],
        &["--help"],
        &["status"],
    ];
    for verb in verbs {
        let mut command = dir.command(verb);
        if verb == ["status"] {
            command.args(&many);
        }
        let (reader, writer) = ::support::pipe().expect("there is room for a pipe");
        drop(reader);
        command.stdout(writer);
        let output = finish(command);
        let quiet = (0, "");
        assert_eq!((output.code(), output.stderr.as_str()), quiet, "{verb:?}");
    }
}
