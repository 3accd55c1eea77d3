//! What must hold after every step, while processes sleep, and in the end.

use std::path::Path;

use super::call::Call;
use super::explorer::Explorer;
use super::kernel::{EventBudget, Kernel, System};
use super::state::{Actor, Broken, Log, State};
use super::{LOCK, NEW_TABLE, TABLE};
use crate::record::Pid;
use crate::table::Table;

/// The pid of the process that comes after all others.
const LAST_PID: Pid = Pid::new(99).expect("99 is a pid");

impl Explorer<'_> {
    /// Checks what must hold after every step.
    pub(super) fn check(&self, state: &State) -> Result<(), Broken> {
        if state.kernel.holders() > 1 {
            let message = "two processes hold the lock at the same time";
            return Err(Broken(message.to_owned()));
        }
        if self.world.has_table {
            self.check_table(&state.kernel, &state.kernel.held_by())?;
        }
        self.check_wakers(state)?;
        for (name, content) in &self.world.foreign {
            if state.kernel.content(name) != Some(content) {
                let name = Path::new(name).display();
                return Err(Broken(format!("the foreign file {name} was changed")));
            }
        }
        Ok(())
    }

    /// Checks that no process ends its wait by its own examination: it would examine without rest.
    fn check_wakers(&self, state: &State) -> Result<(), Broken> {
        let is_woken_by_itself = |pid_index: &usize| match self.next_call(state, *pid_index) {
            Some(Call::Wait(id, ..)) => state.kernel.is_woken_by_itself(*pid_index, *id),
            _ => false,
        };
        match state.living().find(is_woken_by_itself) {
            Some(pid_index) => {
                let name = self.world.name(pid_index);
                Err(Broken(format!("{name} is woken by its own examination")))
            }
            None => Ok(()),
        }
    }

    /// Checks that no process that waits for the lock sleeps through its release or its holder's
    /// death. Where the kernel reported no event, the waiter's timer has to do.
    pub(super) fn check_sleepers(&self, state: &State) -> Result<(), Broken> {
        // No file of a table shows that its lock is free: its waiters are not checked here.
        let is_free = !self.world.has_table && state.kernel.is_free(LOCK);
        if !is_free || state.kernel.may_lack_event(LOCK) {
            return Ok(());
        }
        let waits =
            |pid_index: &usize| matches!(self.next_call(state, *pid_index), Some(Call::Wait(..)));
        match state.living().find(waits) {
            Some(pid_index) => {
                let name = self.world.name(pid_index);
                Err(Broken(format!("{name} sleeps although the lock is free")))
            }
            None => Ok(()),
        }
    }

    /// Checks what must hold when nothing can happen any more.
    pub(super) fn check_final(&mut self, state: &State, log: &mut Log) -> Result<(), Broken> {
        if let Some(pid_index) = state.living().next() {
            return Err(self.waits_indefinitely(pid_index));
        }
        let before = self.world.budget.that_leave_files();
        let events = before - state.kernel.budget.that_leave_files();
        let names = state.kernel.names();
        let left = names.filter(|name| !self.world.is_expected(name));
        let left: Vec<_> = left
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        // A breaker may not read what it has renamed, and leaves it where the name is taken.
        if left.len() > events && !self.world.rules.private_files {
            let left = left.join(", ");
            let message = format!("{events} crashes or faults do not explain {left}");
            return Err(Broken(message));
        }
        self.run_finally(state, log)
    }

    /// Runs the process that comes later and is alone.
    fn run_finally(&mut self, state: &State, log: &mut Log) -> Result<(), Broken> {
        let Some((after, _)) = &self.world.finally else {
            return Ok(());
        };
        let mut state = state.clone();
        state.kernel.advance_clock(*after);
        state.kernel.budget = EventBudget::default();
        log.line(|| format!("{after:?} later:"));
        let program = self.world.contenders.len();
        let pid_index = state.kernel.start(LAST_PID, System::HOST);
        state.actors.push(Actor {
            program,
            node: self.histories.root(program),
            runs_left: 1,
        });
        self.advance(&mut state, pid_index, log)?;
        while state.kernel.is_alive(pid_index) {
            match self.steps(&state).first() {
                Some(step) => self.take(&mut state, *step, log)?,
                None => return Err(self.waits_indefinitely(pid_index)),
            }
        }
        Ok(())
    }

    fn waits_indefinitely(&self, pid_index: usize) -> Broken {
        Broken(format!("{} waits indefinitely", self.world.name(pid_index)))
    }

    /// Checks that the table is whole, and has an entry of each of the processes with these starts.
    pub(super) fn check_table(&self, kernel: &Kernel, starts: &[u64]) -> Result<(), Broken> {
        let content = |name| kernel.content_at_the_path(name);
        // Where a save takes the name from the old table first, the next process gives it to the new one if need be.
        let nameless = content(NEW_TABLE).filter(|_| self.world.rules.renames_away);
        let Some(content) = content(TABLE).or(nameless) else {
            // The other directory has no table until a process makes one there.
            if kernel.had_switch() && starts.is_empty() {
                return Ok(());
            }
            return Err(Broken("the table is gone".to_owned()));
        };
        let table = Table::parse(content);
        let table = table.map_err(|error| Broken(format!("the table is torn: {error}")))?;
        let holders = table.entries.iter().flat_map(|entry| &entry.holder);
        let named: Vec<_> = holders.map(|holder| holder.start_ticks).collect();
        if starts.iter().all(|start| named.contains(start)) {
            return Ok(());
        }
        let message = "the table does not name a process that holds an entry";
        Err(Broken(message.to_owned()))
    }
}
