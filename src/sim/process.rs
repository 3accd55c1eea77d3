//! Simulated processes: programs whose state is the list of the replies that they have received.
//!
//! There are no threads. A program is a function of the replies to its calls. To take its next
//! step, it is run from its beginning: its calls are answered from its history until it makes a
//! call beyond the history. There the program is parked, by an unwinding that `execute` catches. So
//! a program in the middle of its work is a value that costs nothing to keep, to copy (fork) or to
//! drop (SIGKILL).

use std::any::Any;
use std::ffi::OsStr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use super::call::{Call, Fork, Reply};
use super::kernel::{Kernel, Rules};
use super::{LOCK, SPIN_LIMIT};
use crate::sys::{FileId, OwnHolds};

/// What a simulated process executes.
///
/// It must be a function of the replies of its [`SimSys`] alone: no other clock, no randomness, no
/// state outside. It is executed many times.
pub(super) type Program = Arc<dyn Fn(&SimSys)>;

/// The operating system, as one simulated process sees it.
#[derive(Clone)]
pub struct SimSys {
    tape: Arc<Mutex<Tape>>,
    pub(super) rules: Arc<Rules>,
    /// Made anew in each run of the program, which fills it again.
    pub(super) own_holds: Arc<OwnHolds>,
}

/// A call and its reply.
pub(super) struct Exchange {
    pub(super) call: Call,
    pub(super) reply: Reply,
}

/// The kernel, and the process's index in its process table.
pub(super) struct Live {
    pub(super) kernel: Kernel,
    pub(super) pid_index: usize,
}

/// What a program does after a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Call(Call),
    Returned,
    Panicked(String),
}

/// The outcome of one run of a program.
pub(super) struct Run {
    /// The history that the run began with, and the private calls that it added.
    pub(super) history: Vec<Arc<Exchange>>,
    pub(super) next: Next,
    pub(super) live: Option<Live>,
}

/// The history of one process while its program runs.
struct Tape {
    history: Vec<Arc<Exchange>>,
    /// How many calls of this run were answered from the history.
    played: usize,
    /// Answers private calls beyond the history.
    live: Option<Live>,
    /// The call that parked the program.
    pending: Option<Call>,
}

/// What unwinds a program that waits for a reply.
struct Parked;

/// Runs `program` from its beginning: through `history`, then through its private calls if there is
/// a kernel that answers them, up to the next call.
pub(super) fn execute(
    program: &Program,
    rules: &Arc<Rules>,
    history: Vec<Arc<Exchange>>,
    live: Option<Live>,
) -> Run {
    let tape = Tape {
        history,
        played: 0,
        live,
        pending: None,
    };
    let sys = SimSys {
        tape: Arc::new(Mutex::new(tape)),
        rules: rules.clone(),
        own_holds: Arc::new(OwnHolds::new()),
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| program(&sys)));
    let mut tape = sys.tape();
    let next = match (tape.pending.take(), outcome) {
        (Some(call), _) => Next::Call(call),
        (None, Ok(())) => Next::Returned,
        (None, Err(payload)) => Next::Panicked(panic_message(&*payload)),
    };
    Run {
        history: std::mem::take(&mut tape.history),
        next,
        live: tape.live.take(),
    }
}

impl SimSys {
    /// Forks this process: the child shares its open files, and has a copy of its memory.
    pub fn fork(&self) -> Fork {
        match self.call(Call::Fork) {
            Reply::Fork(fork) => fork,
            _ => Fork::Parent,
        }
    }

    /// Reports that this process holds the lock from now on.
    pub fn entered(&self) {
        self.call(Call::Entered);
    }

    /// Reports that this process holds the lock no longer, or is about to give it up.
    pub fn left(&self) {
        self.call(Call::Left);
    }

    /// Does what foreign code in this process may do: it closes all descriptors, and opens the file
    /// `name` for writing until the new descriptors have all the numbers of the closed ones.
    pub fn take_descriptors(&self, name: &str) {
        self.call(Call::TakeDescriptors(OsStr::new(name).into()));
    }

    /// Whether the file has any name. The protocol has no such call.
    pub(super) fn has_name(&self, id: FileId) -> bool {
        self.call(Call::HasName(id)) == Reply::HasName(true)
    }

    /// How often this run has examined what is at the lock path. Meaningful only where histories are
    /// not merged ([`World::without_merging`](crate::sim::World::without_merging)).
    #[must_use]
    pub fn looks(&self) -> usize {
        let tape = self.tape();
        let made = tape.history.iter().take(tape.played);
        let is_look = |exchange: &&Arc<Exchange>| matches!(&exchange.call, Call::Open(name, _) if **name == *LOCK);
        made.filter(is_look).count()
    }

    /// How many calls this run has made.
    pub(super) fn calls_made(&self) -> usize {
        self.tape().played
    }

    /// Skips the next call of the history if it satisfies `is_it`. Whether it did.
    pub(super) fn skip_in_history(&self, is_it: impl FnOnce(&Call) -> bool) -> bool {
        let mut tape = self.tape();
        let next = tape.history.get(tape.played);
        let skips = next.is_some_and(|exchange| is_it(&exchange.call));
        tape.played += usize::from(skips);
        skips
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reply to `call`: from the history, or from the kernel if no other process can observe
    /// the call. Any other call ends this run.
    ///
    /// A process that is parked or killed executes nothing more, not even the calls of a `Drop`:
    /// while its program unwinds, calls have no effect and fail.
    pub(super) fn call(&self, call: Call) -> Reply {
        if std::thread::panicking() {
            return Reply::failed(Errno::ESRCH);
        }
        let played = self.tape().play();
        if let Some(exchange) = played {
            assert_eq!(
                exchange.call, call,
                "a program must be a function of the replies it receives"
            );
            return exchange.reply.clone();
        }
        let reply = self.tape().answer(&self.rules, &call);
        if let Some(reply) = reply {
            return reply;
        }
        self.tape().pending.get_or_insert(call);
        resume_unwind(Box::new(Parked))
    }
}

impl Tape {
    fn play(&mut self) -> Option<Arc<Exchange>> {
        let exchange = self.history.get(self.played).cloned()?;
        self.played += 1;
        Some(exchange)
    }

    /// The kernel's reply, if the call is private.
    fn answer(&mut self, rules: &Rules, call: &Call) -> Option<Reply> {
        if self.pending.is_some() {
            return None;
        }
        let Live { kernel, pid_index } = self.live.as_mut()?;
        // At the start of a round this history may turn out equal to an earlier one.
        if matches!(call, Call::BeginRound(..)) || !kernel.is_private(rules, *pid_index, call) {
            return None;
        }
        assert!(
            self.played < SPIN_LIMIT,
            "the program makes calls without end"
        );
        let reply = kernel.apply(rules, *pid_index, call)?;
        self.history.push(Arc::new(Exchange {
            call: call.clone(),
            reply: reply.clone(),
        }));
        self.played += 1;
        Some(reply)
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    match (
        payload.downcast_ref::<String>(),
        payload.downcast_ref::<&str>(),
    ) {
        (Some(text), _) => text.clone(),
        (None, Some(text)) => (*text).to_owned(),
        (None, None) => "panicked".to_owned(),
    }
}
