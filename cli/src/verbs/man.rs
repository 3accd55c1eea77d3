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
    /// Print the page of this verb, such as run, table list or table-list
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
    // A page has the name rvlf-table-list.
    let mut verbs = args.verb.iter().flat_map(|verb| verb.split('-'));
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
    let mut command = command.after_help(None::<&str>);
    let usage = command.render_usage().to_string();
    let source = concat!("rvlf ", env!("CARGO_PKG_VERSION"));
    let has_verbs = command.has_subcommands();
    let generator = Page::new(command).source(source);
    let mut page = Vec::new();
    generator.render_title(&mut page)?;
    generator.render_name_section(&mut page)?;
    synopsis(&usage).to_writer(&mut page)?;
    generator.render_description_section(&mut page)?;
    generator.render_options_section(&mut page)?;
    if has_verbs {
        generator.render_subcommands_section(&mut page)?;
    }
    if let Some(help) = help {
        sections(&help).to_writer(&mut page)?;
    }
    Ok(page)
}

/// The usage line of the help. The generator would leave out that COMMAND has arguments, and `--`.
fn synopsis(usage: &str) -> Roff {
    let usage = usage.strip_prefix("Usage: ").unwrap_or(usage);
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([roman(usage)]);
    roff
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
