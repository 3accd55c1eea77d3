//! What the command line says.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Supervisor,
    Worker(u32),
}

#[derive(Clone, Debug)]
pub struct Options {
    /// Of the log; `None`: a directory.
    pub url: Option<String>,
    /// Of the journals, and of the log if there is no URL.
    pub directory: PathBuf,
    pub role: Role,
    pub fenced: bool,
    pub workers: u32,
    pub time: Duration,
    pub lease: Duration,
    /// A second.
    pub kills: f64,
    /// A second. A stopped process continues after 1.6 leases.
    pub stops: f64,
    /// The share of writes before which a process stops itself: the worst moment.
    pub self_stops: f64,
    /// Whether answers are lost, requests are late, and requests are never sent.
    pub faults: bool,
    /// A server that is stopped six times, for 3.2 s each.
    pub freeze: Option<i32>,
}

impl Options {
    pub fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options {
            url: None,
            directory: PathBuf::new(),
            role: Role::Supervisor,
            fenced: true,
            workers: 6,
            time: Duration::from_secs(20),
            lease: Duration::from_millis(1500),
            kills: 0.4,
            stops: 0.4,
            self_stops: 0.03,
            faults: false,
            freeze: None,
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            options.take(&argument, &mut arguments)?;
        }
        Ok(options)
    }

    fn take(&mut self, name: &str, rest: &mut impl Iterator<Item = String>) -> Result<()> {
        let seconds = Duration::try_from_secs_f64;
        match name {
            "--unfenced" => self.fenced = false,
            "--faults" => self.faults = true,
            "--directory" => self.directory = value(name, rest)?,
            "--worker" => self.role = Role::Worker(value(name, rest)?),
            "--workers" => self.workers = value(name, rest)?,
            "--seconds" => self.time = seconds(value(name, rest)?)?,
            "--lease" => self.lease = seconds(value(name, rest)?)?,
            "--kills" => self.kills = value(name, rest)?,
            "--stops" => self.stops = value(name, rest)?,
            "--self-stops" => self.self_stops = value(name, rest)?,
            "--freeze" => self.freeze = Some(value(name, rest)?),
            url if url.contains("://") => self.url = Some(url.to_owned()),
            other => return Err(format!("{other} is no option and no URL").into()),
        }
        Ok(())
    }

    pub fn in_directory(self, directory: &Path) -> Options {
        let directory = directory.to_owned();
        Options { directory, ..self }
    }

    /// The arguments of a worker.
    pub fn of_worker(&self, number: u32) -> Vec<String> {
        let mut arguments: Vec<String> = self.url.iter().cloned().collect();
        let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        option("--worker", number.to_string());
        option("--directory", self.directory.display().to_string());
        option("--lease", self.lease.as_secs_f64().to_string());
        option("--self-stops", self.self_stops.to_string());
        if !self.fenced {
            arguments.push("--unfenced".to_owned());
        }
        if self.faults {
            arguments.push("--faults".to_owned());
        }
        arguments
    }

    /// How long a stopped process stays so: others have taken the lock over by then.
    pub fn pause(&self) -> Duration {
        self.lease * 8 / 5
    }
}

fn value<T: FromStr>(name: &str, rest: &mut impl Iterator<Item = String>) -> Result<T> {
    let text = rest.next().ok_or_else(|| format!("{name} needs a value"))?;
    let parsed = text.parse();
    parsed.map_err(|_| format!("{name} cannot be {text}").into())
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = self.url.as_deref().unwrap_or("a directory");
        let fence = if self.fenced { "fenced" } else { "UNFENCED" };
        write!(
            f,
            "{fence}, on {store}: {} processes, lease {:?}, {:?}; {} kills/s, {} stops/s, {} % of \
             writes stopped, faults: {}",
            self.workers,
            self.lease,
            self.time,
            self.kills,
            self.stops,
            self.self_stops * 100.0,
            self.faults,
        )
    }
}
