//! `rvlf man`: the manual pages that a package installs.

use std::io::{self, Write};

use clap::{Args, Command};
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, roman};

use crate::{exit, messages};

/// Print a manual page
///
/// Without VERB, the page of rvlf itself.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Man {
    /// Print the page of this verb, such as run or table list
    verb: Vec<String>,
}

const HELP: &str = "\
EXAMPLES
  rvlf man run | man -l -
  rvlf man > /usr/local/share/man/man1/rvlf.1

EXIT STATUS
  0  success
  2  usage error
  5  operating system error";

pub fn run(args: &Man, mut command: Command) -> io::Result<u8> {
    command.build();
    let mut verbs = args.verb.iter();
    let described = verbs.try_fold(&command, |command, verb| command.find_subcommand(verb));
    let Some(described) = described else {
        let verb = args.verb.join(" ");
        messages::print(format_args!("there is no verb {verb}; see `rvlf --help`"));
        return Ok(exit::USAGE);
    };
    io::stdout().write_all(&page(described.clone())?)?;
    Ok(exit::SUCCESS)
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let help = command.get_after_help().map(ToString::to_string);
    // The generator would join the lines of this help under the heading EXTRA.
    let command = command.after_help(None::<&str>);
    let source = concat!("rvlf ", env!("CARGO_PKG_VERSION"));
    let mut page = Vec::new();
    Page::new(command).source(source).render(&mut page)?;
    if let Some(help) = help {
        sections(&help).to_writer(&mut page)?;
    }
    Ok(page)
}

/// Turns a help text with sections such as EXAMPLES and EXIT STATUS into roff. A line without
/// indentation begins a section. The lines of a section are not filled.
fn sections(help: &str) -> Roff {
    let mut roff = Roff::new();
    for line in help.lines().filter(|line| !line.is_empty()) {
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
