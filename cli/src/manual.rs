//! `rvlf man` and `rvlf completions`: what a package installs beside the command.

use std::io::{self, Write};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, roman};

/// Print a manual page
///
/// Without VERB: the page of rvlf itself.
#[derive(Args)]
#[command(after_help = MAN_HELP)]
pub struct Man {
    /// The page of this verb
    verb: Option<String>,
}

const MAN_HELP: &str = "\
EXAMPLES
  rvlf man run | man -l -
  rvlf man > /usr/local/share/man/man1/rvlf.1

EXIT STATUS
  0  done
  2  bad usage
  5  the operating system failed";

/// Print a completion script for a shell
#[derive(Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub struct Completions {
    shell: Shell,
}

const COMPLETIONS_HELP: &str = "\
EXAMPLES
  source <(rvlf completions bash)
  rvlf completions fish > ~/.config/fish/completions/rvlf.fish

EXIT STATUS
  0  done
  2  bad usage
  5  the operating system failed";

pub fn completions(args: &Completions, mut command: Command) -> io::Result<()> {
    // Into memory first: the generator panics where standard output is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "rvlf", &mut script);
    io::stdout().write_all(&script)
}

/// `Err` with the verb if there is none such.
pub fn man(args: Man, mut command: Command) -> Result<io::Result<()>, String> {
    command.build();
    let command = match args.verb {
        None => command,
        Some(verb) => match command.find_subcommand(&verb) {
            Some(command) => command.clone(),
            None => return Err(verb),
        },
    };
    let mut page = Vec::new();
    Ok(render(command, &mut page).and_then(|()| io::stdout().write_all(&page)))
}

fn render(command: Command, page: &mut Vec<u8>) -> io::Result<()> {
    let help = command.get_after_help().map(ToString::to_string);
    // The generator would run its lines together under the heading EXTRA.
    let command = command.after_help(None::<&str>);
    let source = concat!("rvlf ", env!("CARGO_PKG_VERSION"));
    Page::new(command).source(source).render(page)?;
    sections(&help.unwrap_or_default()).to_writer(page)
}

/// EXAMPLES, EXIT STATUS: a line that is not indented begins a section, whose lines stay as they are.
fn sections(help: &str) -> Roff {
    let mut roff = Roff::new();
    for line in help.lines() {
        if line.is_empty() {
            continue;
        }
        match line.strip_prefix("  ") {
            None => {
                roff.control("SH", [line]);
                roff.control("nf", []);
            }
            Some(line) => {
                roff.text([roman(line)]);
            }
        }
    }
    roff.control("fi", []);
    roff
}
