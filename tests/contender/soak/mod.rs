//! The lock and the table of one place for hours, used by the library and by the command, whose processes are
//! killed and stopped.
//!
//! ```text
//! contender soak DIR COMMAND_DIR WITNESS SECONDS DISTURB_MS
//! contender soak-sabotaged DIR COMMAND_DIR WITNESS SECONDS DISTURB_MS  with processes that break the rules
//! ```
//!
//! DIR is where the library works, COMMAND_DIR the same directory, perhaps on another mount, for the command,
//! which is `RVLF`. WITNESS is a directory on a local file system that is made here. Every DISTURB_MS on the
//! average, ten times as long where no kernel witnesses deaths, a process is killed or stopped. Prints what
//! was done and found; exits with 1 if a promise was broken.

mod commands;
mod contenders;
mod leaks;
mod witness;

use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use support::Rng;

use self::commands::{END, Place, Slot};
use self::leaks::Watched;
use self::witness::{TWO_HOLDERS, Witness};
use crate::program::Fallible;

const TICK: Duration = Duration::from_millis(20);

/// Longer than the age after which a dead process's record is stale on its own host.
const LONG_PAUSE: Duration = Duration::from_secs(35);

/// How often a holder is stopped for that long.
const LONG_PAUSES: Duration = Duration::from_secs(300);

/// Where no kernel is a witness, a dead holder's lock is recovered after 300 s: no process is killed in the
/// last minutes, so that the soak ends in time.
const CALM: Duration = Duration::from_secs(310);

/// How much rarer disturbances are there: each that meets a holder stops all for 300 s.
const RARER: u32 = 10;

/// How many violations are printed.
const SHOWN: usize = 10;

pub(crate) fn run(arguments: &[&str]) -> Option<Fallible<ExitCode>> {
    Some(match arguments {
        ["soak", rest @ ..] => soak(rest, false),
        ["soak-sabotaged", rest @ ..] => soak(rest, true),
        ["soak-contend", data, witness] => {
            contenders::contend(Path::new(data), &Witness::at(witness))
        }
        ["soak-work", witness, millis] => match millis.parse() {
            Ok(millis) => contenders::work(&Witness::at(witness), millis),
            Err(error) => Err(Box::from(error)),
        },
        ["soak-table", table, witness] => {
            contenders::use_table(table.into(), &Witness::at(witness))
        }
        ["soak-sabotage", _, witness] => contenders::sabotage(&Witness::at(witness)),
        ["soak-steal", table, witness] => contenders::steal(table.into(), &Witness::at(witness)),
        _ => return None,
    })
}

fn soak(arguments: &[&str], sabotaged: bool) -> Fallible<ExitCode> {
    let [dir, command_dir, witness, seconds, disturb_ms] = arguments else {
        return Err("usage: contender soak DIR COMMAND_DIR WITNESS SECONDS DISTURB_MS".into());
    };
    let place = Place {
        rvlf: std::env::var_os("RVLF").ok_or("RVLF is not set")?.into(),
        contender: std::env::current_exe()?,
        dir: dir.into(),
        command_dir: command_dir.into(),
        witness: Witness::create(witness)?,
    };
    let time = Duration::from_secs(seconds.parse()?);
    let disturb = Duration::from_millis(disturb_ms.parse()?);
    let mut soak = Soak::start(place, sabotaged)?;
    soak.run(time, disturb)?;
    soak.end()?;
    soak.report()
}

/// A process that runs until the soak is over.
struct Contender {
    name: &'static str,
    command: fn(&Place) -> Command,
    child: Child,
    /// One that lives for the whole soak is never killed, and must use no more in the end than in the
    /// beginning.
    watched: Option<Watched>,
}

impl Contender {
    fn mortal(
        name: &'static str,
        place: &Place,
        command: fn(&Place) -> Command,
    ) -> Fallible<Contender> {
        Ok(Contender {
            name,
            command,
            child: command(place).spawn()?,
            watched: None,
        })
    }

    fn resident(
        name: &'static str,
        place: &Place,
        command: fn(&Place) -> Command,
    ) -> Fallible<Contender> {
        let mut contender = Contender::mortal(name, place, command)?;
        contender.watched = Some(Watched::new(contender.child.id()));
        Ok(contender)
    }

    fn pid(&self) -> Pid {
        raw(self.child.id())
    }
}

fn raw(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("pids are positive"))
}

fn library(place: &Place) -> Command {
    place.contender("contend", place.data())
}

fn table(place: &Place) -> Command {
    place.contender("table", place.table())
}

fn saboteur(place: &Place) -> Command {
    place.contender("sabotage", &place.dir)
}

fn thief(place: &Place) -> Command {
    place.contender("steal", place.table())
}

fn contenders(place: &Place, sabotaged: bool) -> Fallible<Vec<Contender>> {
    let mut contenders = vec![
        Contender::resident("library", place, library)?,
        Contender::resident("library", place, library)?,
        Contender::resident("table", place, table)?,
        Contender::resident("rvlf run", place, commands::run)?,
        Contender::resident("holder", place, commands::hold)?,
    ];
    for (name, command) in [
        ("library", library as fn(&Place) -> Command),
        ("library", library),
        ("table", table),
        ("table", table),
    ] {
        contenders.push(Contender::mortal(name, place, command)?);
    }
    if sabotaged {
        contenders.push(Contender::resident("saboteur", place, saboteur)?);
        contenders.push(Contender::mortal("thief", place, thief)?);
    }
    Ok(contenders)
}

#[derive(Debug, Default)]
struct Counts {
    killed: u64,
    stopped: u64,
    stopped_for_long: u64,
}

struct Soak {
    place: Place,
    rng: Rng,
    /// Whether a dead holder's lock is recovered at once.
    is_witnessed: bool,
    contenders: Vec<Contender>,
    slots: [Slot; 3],
    stopped: Vec<(Pid, Instant)>,
    most_files: usize,
    counts: Counts,
    began: Instant,
}

impl Soak {
    fn start(place: Place, sabotaged: bool) -> Fallible<Soak> {
        let file = rvlf::LockFile::open(place.data())?;
        Ok(Soak {
            is_witnessed: file.file_system().is_local(),
            rng: Rng::new(),
            contenders: contenders(&place, sabotaged)?,
            place,
            slots: [Slot::new(), Slot::new(), Slot::new()],
            stopped: Vec::new(),
            most_files: 0,
            counts: Counts::default(),
            began: Instant::now(),
        })
    }

    fn run(&mut self, time: Duration, disturb: Duration) -> Fallible<()> {
        let (calm, disturb) = if self.is_witnessed {
            (Duration::ZERO, disturb)
        } else {
            (CALM, disturb * RARER)
        };
        let sample_every = (time / 100).min(Duration::from_secs(30));
        let (mut next_disturbance, mut next_sample) = (disturb, Duration::ZERO);
        let mut next_long_pause = LONG_PAUSES;
        while self.began.elapsed() < time {
            std::thread::sleep(TICK);
            self.replace_ended()?;
            for slot in &mut self.slots {
                slot.step(&self.place, &mut self.rng)?;
            }
            self.resume(false)?;
            let now = self.began.elapsed();
            if now >= next_sample {
                self.sample();
                next_sample += sample_every;
            }
            if now >= next_disturbance && now + calm < time {
                self.disturb()?;
                let twice = u64::try_from(2 * disturb.as_micros())?;
                next_disturbance = now + self.rng.micros(twice);
            }
            if now >= next_long_pause && self.is_witnessed {
                self.stop_holder_for_long()?;
                next_long_pause = now + LONG_PAUSES;
            }
        }
        Ok(())
    }

    /// A contender ends by a kill of this program only, unless it has found a broken promise.
    fn replace_ended(&mut self) -> Fallible<()> {
        for contender in &mut self.contenders {
            let Some(status) = contender.child.try_wait()? else {
                continue;
            };
            let name = contender.name;
            self.place
                .witness
                .violation(format_args!("{name} ended: {status}"));
            contender.child = (contender.command)(&self.place).spawn()?;
            contender.watched = None;
        }
        Ok(())
    }

    fn sample(&mut self) {
        for contender in &mut self.contenders {
            if let Some(watched) = &mut contender.watched {
                watched.sample();
            }
        }
        let files = support::names_in(&self.place.dir).len();
        self.most_files = self.most_files.max(files);
    }

    /// Kills or stops a contender or a command; where its death is recovered at once, often the holder.
    fn disturb(&mut self) -> Fallible<()> {
        let all = self.contenders.len() + self.slots.len();
        let mut choice = usize::try_from(self.rng.below(all as u64))?;
        if self.is_witnessed && self.rng.below(2) == 0 {
            choice = self.holder()?.unwrap_or(choice);
        }
        let kills = self.rng.below(2) == 0;
        match self.contenders.get(choice) {
            Some(contender) if kills && contender.watched.is_none() => self.replace(choice),
            Some(contender) => self.stop(contender.pid()),
            None => self.disturb_command(choice - self.contenders.len(), kills),
        }
    }

    /// The contender, or behind the contenders the command, that holds the lock.
    fn holder(&self) -> Fallible<Option<usize>> {
        let rvlf::LockState::Held(holder) = rvlf::inspect(self.place.data())? else {
            return Ok(None);
        };
        let pid = holder.record().map(|record| record.pid().get());
        let mut pids = self.pids();
        Ok(pid.and_then(|holder| pids.position(|pid| pid == Some(holder))))
    }

    fn pids(&self) -> impl Iterator<Item = Option<u32>> {
        let contenders = self.contenders.iter();
        contenders
            .map(|contender| Some(contender.child.id()))
            .chain(self.slots.iter().map(Slot::pid))
    }

    fn replace(&mut self, choice: usize) -> Fallible<()> {
        let contender = self
            .contenders
            .get_mut(choice)
            .ok_or("a number below theirs")?;
        contender.child.kill()?;
        contender.child.wait()?;
        contender.child = (contender.command)(&self.place).spawn()?;
        self.counts.killed += 1;
        Ok(())
    }

    /// Kills `rvlf` alone or with its command, or stops it.
    fn disturb_command(&mut self, choice: usize, kills: bool) -> Fallible<()> {
        let Some(pid) = self.slots.get(choice).and_then(Slot::pid) else {
            return Ok(());
        };
        match self.rng.below(3) {
            _ if !kills => return self.stop(raw(pid)),
            0 => killpg(raw(pid), Signal::SIGKILL)?,
            1 => kill(raw(pid), Signal::SIGTERM)?,
            _ => kill(raw(pid), Signal::SIGKILL)?,
        }
        self.counts.killed += 1;
        Ok(())
    }

    fn stop(&mut self, pid: Pid) -> Fallible<()> {
        let time = self.rng.micros(2_000_000);
        self.counts.stopped += 1;
        self.stop_for(pid, time)
    }

    fn stop_for(&mut self, pid: Pid, time: Duration) -> Fallible<()> {
        kill(pid, Signal::SIGSTOP)?;
        self.stopped.push((pid, Instant::now() + time));
        Ok(())
    }

    /// Stops a holder for longer than every age by which it could be judged dead on its own host.
    fn stop_holder_for_long(&mut self) -> Fallible<()> {
        let holder = self.holder()?.and_then(|holder| self.pids().nth(holder));
        if let Some(pid) = holder.flatten() {
            self.counts.stopped_for_long += 1;
            self.stop_for(raw(pid), LONG_PAUSE)?;
        }
        Ok(())
    }

    fn resume(&mut self, all: bool) -> Fallible<()> {
        let now = Instant::now();
        let live: Vec<Pid> = self.pids().flatten().map(raw).collect();
        let stopped = std::mem::take(&mut self.stopped).into_iter();
        // Other pids may be of other programs by now.
        for (pid, until) in stopped.filter(|(pid, _)| live.contains(pid)) {
            if all || until <= now {
                kill(pid, Signal::SIGCONT)?;
            } else {
                self.stopped.push((pid, until));
            }
        }
        Ok(())
    }

    /// Lets all end by themselves, and checks that the holders have kept their locks.
    fn end(&mut self) -> Fallible<()> {
        self.resume(true)?;
        self.place.witness.set_over()?;
        let deadline = Instant::now() + END;
        while self.slots.iter().any(|slot| slot.pid().is_some()) {
            if Instant::now() > deadline {
                return Err("a command hangs".into());
            }
            std::thread::sleep(TICK);
            for slot in &mut self.slots {
                slot.reap(&self.place, &mut self.rng)?;
            }
        }
        for contender in &mut self.contenders {
            contender.child.stdin = None;
            // The table's workers know no end.
            if contender.name == "table" || contender.name == "thief" {
                contender.child.kill()?;
                contender.child.wait()?;
                continue;
            }
            let status = contender.child.wait()?;
            if !status.success() {
                let name = contender.name;
                self.place
                    .witness
                    .violation(format_args!("{name} ended: {status}"));
            }
        }
        let lock = rvlf::WriterLock::acquire(self.place.data(), END)?;
        lock.release()?;
        Ok(())
    }

    fn report(&self) -> Fallible<ExitCode> {
        let witness = &self.place.witness;
        let (all, processes) = witness.audit("")?;
        let (by_command, _) = witness.audit("command")?;
        let errors = witness.lines("errors")?;
        let reclaimed = errors
            .iter()
            .filter(|line| line.contains("may need recovery"));
        let reclaimed_by_command = reclaimed.count();
        let seconds = self.began.elapsed().as_secs();
        println!("{seconds} s, {:?}", self.counts);
        println!(
            "lock: {} holds by {processes} processes, {} of them under the command; a dead holder's lock \
             reclaimed {} times by the library, {} times by the command; the longest time without a hold {:.1?}",
            all.holds, by_command.holds, all.reclaimed, reclaimed_by_command, all.longest_gap
        );
        let operations = witness.lines("table")?;
        let operations = support::table_worker::counts(operations.iter().map(String::as_str));
        println!("table: {operations:?}");
        let mut leaks = 0;
        for contender in &self.contenders {
            let Some(watched) = &contender.watched else {
                continue;
            };
            let (figures, grew) = watched.growth();
            leaks += u32::from(grew);
            println!(
                "{}: {figures}{}",
                contender.name,
                if grew { ", A LEAK" } else { "" }
            );
        }
        let left = support::names_in(&self.place.dir);
        println!("files: {} at most, in the end {left:?}", self.most_files);
        let violations = witness.lines("violations")?;
        for violation in violations.iter().take(SHOWN) {
            println!("VIOLATION: {violation}");
        }
        let of_the_table = witness.lines("table")?;
        let of_the_table = of_the_table
            .iter()
            .filter(|line| line.starts_with("VIOLATION"));
        let two_holders = violations
            .iter()
            .filter(|line| line.starts_with(TWO_HOLDERS));
        let (two_holders, of_the_table) = (two_holders.count(), of_the_table.count());
        println!(
            "found: {} overlaps by times, {two_holders} by record locks, {} other faults of the lock, \
             {of_the_table} of the table, {leaks} leaks",
            all.overlaps,
            violations.len() - two_holders
        );
        let clean =
            all.overlaps == 0 && all.holds > 0 && violations.is_empty() && of_the_table == 0;
        Ok(if clean && leaks == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
