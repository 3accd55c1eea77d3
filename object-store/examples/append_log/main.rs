//! Several processes append to one log in a store, and are killed and stopped meanwhile. With the fence
//! no acknowledged entry is lost. Without it the reader watches how entries are lost.
//!
//! ```text
//! cargo run -p rvlf-object-store --example append_log
//! cargo run -p rvlf-object-store --example append_log -- --unfenced
//! cargo run -p rvlf-object-store --example append_log --features aws -- s3://bucket/log
//! ```
//!
//! Without a URL the store is a directory of this machine. The program fails if the fence lost an entry,
//! or if its absence lost none.

mod audit;
mod journal;
mod options;
mod place;
mod stopping;
mod supervisor;
mod worker;

use std::error::Error;
use std::process::ExitCode;

use options::{Options, Role};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("append_log: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let options = Options::from_arguments(std::env::args().skip(1))?;
    match options.role {
        Role::Worker(number) => worker::work(&options, number).map(|()| ExitCode::SUCCESS),
        Role::Supervisor => {
            let directory = tempfile::tempdir()?;
            let options = options.in_directory(directory.path());
            println!("{options}");
            let killed = supervisor::supervise(&options)?;
            let audit = audit::audit(&options)?;
            println!("{killed}\n{audit}");
            Ok(audit.verdict(options.fenced))
        }
    }
}
