//! `rvlf completions`: the completion scripts that a package installs.

use std::io::{self, Write};

use clap::{Arg, Args, Command};
use clap_complete::Shell;

use crate::exit;

/// Print a completion script for a shell
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

const HELP: &str = "\
EXAMPLES
  source <(rvlf completions bash)
  rvlf completions fish > ~/.config/fish/completions/rvlf.fish

EXIT STATUS
  0  success
  2  usage error
  5  operating system error";

pub fn run(args: &Completions, command: &Command) -> io::Result<u8> {
    // The generator panics if its output fails, for example at a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut visible(command), "rvlf", &mut script);
    let mut script = String::from_utf8(script).expect("the generator writes text");
    match args.shell {
        Shell::Bash => script += &completion_of_command(BASH, " | ", command),
        Shell::Fish => script += &completion_of_command(FISH, " ", command),
        Shell::Zsh => script = for_zsh(&script),
        _ => {}
    }
    io::stdout().write_all(script.as_bytes())?;
    Ok(exit::SUCCESS)
}

const BASH: &str = include_str!("completions/command.bash");
const FISH: &str = include_str!("completions/command.fish");

/// The generator takes DATA for the command whose arguments are completed, and the word after `--wait` for
/// its value. zshcompsys(1), _arguments: `*:::`, `=-`
fn for_zsh(script: &str) -> String {
    script
        .replace("'*::command -- ", "'*:::command -- ")
        .replace("--wait=[", "--wait=-[")
}

/// The generator would offer hidden verbs as well.
fn visible(command: &Command) -> Command {
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    Command::new("rvlf")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommands(verbs.cloned())
}

/// Completes COMMAND of `run` and its arguments as the shell completes them elsewhere.
fn completion_of_command(script: &str, separator: &str, command: &Command) -> String {
    let run = command.find_subcommand("run").expect("run is a verb");
    let options = run.get_arguments().filter(|arg| takes_next_word(arg));
    let names = options.flat_map(|option| {
        let short = option.get_short().map(|short| format!("-{short}"));
        let long = option.get_long().map(|long| format!("--{long}"));
        short.into_iter().chain(long)
    });
    let names: Vec<String> = names.collect();
    script.replace("@WITH_VALUE@", &names.join(separator))
}

/// Whether the word after the option is its value. The scripts know `--wait 5s`.
fn takes_next_word(arg: &Arg) -> bool {
    !arg.is_positional() && arg.get_action().takes_values() && !arg.is_require_equals_set()
}
