//! Simulated processes: programs whose state is the list of replies that they have heard.
//!
//! There are no threads. A program is a function of the replies to its calls. To take its next step
//! it is run from its beginning: calls are answered from its history until it makes one that lies
//! beyond, and there it is parked, by an unwinding that its root catches. So a program in the middle
//! of its work is a value that costs nothing to keep, to copy (fork) or to throw away (SIGKILL).

use std::any::Any;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;

use super::call::{Call, Fd, Fork, Reply, WatchId};
use super::fingerprint::fingerprint;
use super::kernel::{Kernel, Rules};
use crate::judge::FileSystem;
use crate::record::{Hostname, Pid};
use crate::sys::hooks::{Hooks, Safeguard};
use crate::sys::{
    Access, Extent, FileId, Flock, Flocked, Head, Identity, Liveness, Now, Stat, Sys, Woken,
};

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
}

/// The history of one process, being played and, with a kernel at hand, continued.
struct Tape {
    history: Vec<Arc<Heard>>,
    played: usize,
    live: Option<Live>,
    pending: Option<Call>,
}

/// A call and its reply.
type Heard = (Call, Reply);

/// The kernel and the process's place in its table.
struct Live {
    kernel: Kernel,
    who: usize,
}

/// A program that makes so many calls without one that others can notice is caught in a loop.
const SPIN: usize = 10_000;

/// What unwinds a program that waits for a reply.
struct Parked;

impl SimSys {
    /// Copies this process: open files are shared, memory is not.
    pub fn fork(&self) -> Fork {
        match self.call(Call::Fork) {
            Reply::Fork(fork) => fork,
            _ => Fork::Parent,
        }
    }

    /// Says that this process holds the lock from now on.
    pub fn entered(&self) {
        self.call(Call::Entered);
    }

    /// Says that this process holds the lock no longer, or is about to give it up.
    pub fn left(&self) {
        self.call(Call::Left);
    }

    /// Foreign code in this process closes all its descriptors, and opens the file `name` for writing
    /// until it has the numbers that they had.
    pub fn take_descriptors(&self, name: &str) {
        self.call(Call::TakeDescriptors(OsStr::new(name).into()));
    }

    /// Whether the file has any name, which nobody in the protocol asks.
    pub(super) fn has_name(&self, id: FileId) -> bool {
        self.call(Call::HasName(id)) == Reply::HasName(true)
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reply to `call`: from the history, or from the kernel if nobody else can notice. Beyond
    /// that it is the end of this run.
    ///
    /// A process that is parked or killed executes nothing more, not even the calls of a `Drop`: while
    /// its program unwinds, calls have no effect and fail.
    fn call(&self, call: Call) -> Reply {
        if std::thread::panicking() {
            return Reply::failed(Errno::ESRCH);
        }
        let heard = self.tape().play();
        if let Some(heard) = heard {
            let (recorded, reply) = &*heard;
            assert_eq!(
                *recorded, call,
                "a program must be a function of the replies it gets"
            );
            return reply.clone();
        }
        let reply = self.tape().answer(&self.rules, &call);
        if let Some(reply) = reply {
            return reply;
        }
        self.tape().pending.get_or_insert(call);
        resume_unwind(Box::new(Parked))
    }

    fn done(&self, call: Call) -> io::Result<()> {
        match self.call(call) {
            Reply::Done => Ok(()),
            reply => Err(reply.into_error()),
        }
    }

    fn file(&self, call: Call) -> io::Result<SimFile> {
        match self.call(call) {
            Reply::File(fd) => Ok(SimFile {
                sys: self.clone(),
                fd,
            }),
            reply => Err(reply.into_error()),
        }
    }
}

impl Tape {
    fn play(&mut self) -> Option<Arc<Heard>> {
        let heard = self.history.get(self.played).cloned()?;
        self.played += 1;
        Some(heard)
    }

    fn answer(&mut self, rules: &Rules, call: &Call) -> Option<Reply> {
        let Live { kernel, who } = self.live.as_mut().filter(|_| self.pending.is_none())?;
        // Where a round begins it may turn out that this history goes on as an earlier one.
        if matches!(call, Call::BeginRound(..)) || !kernel.is_private(rules, *who, call) {
            return None;
        }
        assert!(self.played < SPIN, "it makes calls without end");
        let reply = kernel.apply(rules, *who, call)?;
        self.history.push(Arc::new((call.clone(), reply.clone())));
        self.played += 1;
        Some(reply)
    }
}

impl fmt::Debug for SimSys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimSys")
    }
}

/// The only directory there is.
#[derive(Debug)]
pub struct SimDir(());

/// An open file of a simulated process.
#[derive(Debug)]
pub struct SimFile {
    sys: SimSys,
    fd: Fd,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.sys.call(Call::Close(self.fd));
    }
}

/// A watch of a simulated process.
#[derive(Debug)]
pub struct SimWatch {
    sys: SimSys,
    id: WatchId,
    watches_process: bool,
}

impl Drop for SimWatch {
    fn drop(&mut self) {
        self.sys.call(Call::Unwatch(self.id));
    }
}

impl Sys for SimSys {
    type Dir = SimDir;
    type File = SimFile;
    type Watch = SimWatch;

    fn open_dir(&self, _path: &Path) -> io::Result<SimDir> {
        self.done(Call::OpenDir).map(SimDir)
    }

    fn file_system(&self, _dir: &SimDir) -> io::Result<FileSystem> {
        match self.call(Call::FileSystem) {
            Reply::FileSystem(file_system) => Ok(file_system),
            reply => Err(reply.into_error()),
        }
    }

    fn list(&self, _dir: &SimDir) -> io::Result<Vec<OsString>> {
        match self.call(Call::List) {
            Reply::Names(names) => Ok(names.iter().map(|name| OsString::from(&**name)).collect()),
            reply => Err(reply.into_error()),
        }
    }

    fn stat_at(&self, _dir: &SimDir, name: &OsStr) -> io::Result<Stat> {
        match self.call(Call::StatAt(name.into())) {
            Reply::Stat(stat) => Ok(stat),
            reply => Err(reply.into_error()),
        }
    }

    fn open(&self, _dir: &SimDir, name: &OsStr, access: Access) -> io::Result<SimFile> {
        self.file(Call::Open(name.into(), access))
    }

    fn create(&self, _dir: &SimDir, name: &OsStr, _mode: u32) -> io::Result<SimFile> {
        self.file(Call::Create(name.into()))
    }

    fn create_unnamed(&self, _dir: &SimDir, _mode: u32) -> io::Result<SimFile> {
        self.file(Call::CreateUnnamed)
    }

    fn link(&self, file: &SimFile, _dir: &SimDir, name: &OsStr) -> io::Result<()> {
        self.done(Call::Link(file.fd, name.into()))
    }

    fn rename(&self, _dir: &SimDir, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.done(Call::Rename(from.into(), to.into()))
    }

    fn rename_noreplace(&self, _dir: &SimDir, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.done(Call::RenameNoreplace(from.into(), to.into()))
    }

    fn unlink(&self, _dir: &SimDir, name: &OsStr) -> io::Result<()> {
        self.done(Call::Unlink(name.into()))
    }

    fn sync_dir(&self, _dir: &SimDir) -> io::Result<()> {
        self.done(Call::SyncDir)
    }

    fn stat(&self, file: &SimFile) -> io::Result<Stat> {
        match self.call(Call::Stat(file.fd)) {
            Reply::Stat(stat) => Ok(stat),
            reply => Err(reply.into_error()),
        }
    }

    fn read(&self, file: &SimFile) -> io::Result<Head> {
        match self.call(Call::Read(file.fd)) {
            Reply::Head(head) => Ok(head),
            reply => Err(reply.into_error()),
        }
    }

    fn write(&self, file: &SimFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.done(Call::Write(file.fd, offset, bytes.to_vec()))
    }

    fn flock(&self, file: &SimFile, operation: Flock) -> io::Result<Flocked> {
        match self.call(Call::Flock(file.fd, operation)) {
            Reply::Flocked(flocked) => Ok(flocked),
            reply => Err(reply.into_error()),
        }
    }

    fn sync(&self, file: &SimFile, extent: Extent) -> io::Result<()> {
        self.done(Call::Sync(file.fd, extent))
    }

    fn hostname(&self) -> Hostname {
        match self.call(Call::Hostname) {
            Reply::Hostname(name) => name,
            _ => Hostname::truncated(b""),
        }
    }

    fn is_host_alias(&self, name: &Hostname) -> bool {
        self.call(Call::IsHostAlias(*name)) == Reply::IsHostAlias(true)
    }

    fn boot_id(&self) -> Option<[u8; 16]> {
        match self.call(Call::BootId) {
            Reply::BootId(id) => Some(id),
            _ => None,
        }
    }

    fn identity(&self) -> io::Result<Identity> {
        match self.call(Call::Identity) {
            Reply::Identity(identity) => Ok(identity),
            reply => Err(reply.into_error()),
        }
    }

    fn process(&self, pid: Pid) -> Liveness {
        match self.call(Call::Process(pid)) {
            Reply::Process(liveness) => liveness,
            _ => Liveness::Unknown,
        }
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        match self.call(Call::Random) {
            Reply::Random(bytes) => Ok(bytes),
            reply => Err(reply.into_error()),
        }
    }

    fn now(&self) -> Now {
        match self.call(Call::Now) {
            Reply::Now(now) => now,
            _ => Now {
                realtime_ns: 0,
                since_boot: Duration::ZERO,
            },
        }
    }

    fn watch(&self, file: &SimFile, process: Option<Pid>) -> io::Result<SimWatch> {
        match self.call(Call::Watch(file.fd, process)) {
            Reply::Watch(id, watches_process) => Ok(SimWatch {
                sys: self.clone(),
                id,
                watches_process,
            }),
            reply => Err(reply.into_error()),
        }
    }

    fn watches_process(&self, watch: &SimWatch) -> bool {
        watch.watches_process
    }

    fn wait(&self, watch: Option<&mut SimWatch>, timeout: Duration) -> Woken {
        let call = match watch {
            Some(watch) => Call::Wait(watch.id, timeout),
            None => Call::Sleep(timeout),
        };
        match self.call(call) {
            Reply::Woken(woken) => woken,
            _ => Woken::Timeout,
        }
    }

    fn hooks(&self) -> Option<&dyn Hooks> {
        Some(self)
    }
}

impl Hooks for SimSys {
    fn begin_loop(&self) -> usize {
        let place = self.tape().played;
        self.call(Call::BeginLoop);
        place
    }

    fn begin_round(&self, entry: usize, memory: &dyn fmt::Debug) {
        // What is played needs no fingerprint: making one takes longer than everything else.
        let mut tape = self.tape();
        let next = tape.history.get(tape.played).map(|heard| &heard.0);
        if matches!(next, Some(Call::BeginRound(place, _)) if *place == entry) {
            tape.played += 1;
            return;
        }
        drop(tape);
        let memory = fingerprint(&format!("{memory:?}"));
        self.call(Call::BeginRound(entry, memory));
    }

    fn disables(&self, safeguard: Safeguard) -> bool {
        self.rules.lacks(safeguard)
    }
}

/// What a program does after a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Call(Call),
    Returned,
    Panicked(String),
}

/// Names one history of one program.
pub(super) type NodeId = usize;

/// The histories of all programs, as trees that grow while they are explored: each history is
/// executed once.
pub(super) struct Histories {
    programs: Vec<Program>,
    roots: Vec<NodeId>,
    nodes: Vec<Node>,
    children: HashMap<(NodeId, Reply), NodeId>,
    /// Rounds of loops, by the history before the loop and the memory that they begin with.
    rounds: HashMap<(NodeId, u128), NodeId>,
    rules: Arc<Rules>,
}

struct Node {
    program: usize,
    /// The number of replies in the history.
    depth: usize,
    /// The history before the last reply.
    parent: Option<NodeId>,
    heard: Option<Arc<Heard>>,
    next: Next,
}

impl Histories {
    pub(super) fn new(programs: Vec<Program>, rules: Rules) -> Histories {
        let mut histories = Histories {
            programs,
            roots: Vec::new(),
            nodes: Vec::new(),
            children: HashMap::new(),
            rounds: HashMap::new(),
            rules: Arc::new(rules),
        };
        histories.roots = (0..histories.programs.len())
            .map(|p| histories.plant(p))
            .collect();
        histories
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The empty history of a program.
    pub(super) fn root(&self, program: usize) -> NodeId {
        *self.roots.get(program).expect("every program has a root")
    }

    pub(super) fn next(&self, node: NodeId) -> &Next {
        &self.node(node).next
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The history that `reply` continues, and the private calls that follow it if it has not been
    /// executed before: to execute them at once saves as many runs from the beginning.
    pub(super) fn after(
        &mut self,
        node: NodeId,
        reply: Reply,
        live: Option<(&mut Kernel, usize)>,
    ) -> NodeId {
        if let Some(child) = self.children.get(&(node, reply.clone())) {
            return *child;
        }
        let Next::Call(call) = self.node(node).next.clone() else {
            unreachable!("only calls have replies");
        };
        let program = self.node(node).program;
        let mut history = self.history(node);
        history.push(Arc::new((call, reply.clone())));
        if let Some(first) = self.first_alike(node) {
            let (_, next, _) = self.run(program, history, None);
            assert_eq!(self.node(first).next, next, "{FORGETFUL}");
            self.children.insert((node, reply), first);
            return first;
        }
        let depth = history.len();
        let mut live = live;
        let taken = live.as_mut().map(|(kernel, who)| Live {
            kernel: std::mem::replace(*kernel, Kernel::new()),
            who: *who,
        });
        let (history, next, left) = self.run(program, history, taken);
        if let (Some((kernel, _)), Some(left)) = (live, left) {
            *kernel = left.kernel;
        }
        let mut calls = history
            .iter()
            .skip(depth)
            .map(|heard| Next::Call(heard.0.clone()));
        let mut at = self.step(node, reply, calls.next().unwrap_or_else(|| next.clone()));
        for heard in history.iter().skip(depth) {
            at = self.step(
                at,
                heard.1.clone(),
                calls.next().unwrap_or_else(|| next.clone()),
            );
        }
        at
    }

    /// The history one reply on, where `next` follows.
    fn step(&mut self, node: NodeId, reply: Reply, next: Next) -> NodeId {
        let known = self.children.get(&(node, reply.clone())).copied();
        let known = known.or_else(|| self.first_alike(node));
        let child = known.unwrap_or_else(|| self.grow(node, reply.clone(), next.clone()));
        assert_eq!(self.node(child).next, next, "{FORGETFUL}");
        self.children.insert((node, reply), child);
        child
    }

    fn grow(&mut self, node: NodeId, reply: Reply, next: Next) -> NodeId {
        let Node { program, depth, .. } = *self.node(node);
        let Next::Call(call) = self.node(node).next.clone() else {
            unreachable!("only calls have replies");
        };
        let heard = Some(Arc::new((call, reply)));
        self.nodes.push(Node {
            program,
            depth: depth + 1,
            parent: Some(node),
            heard,
            next,
        });
        let child = self.nodes.len() - 1;
        if let Some(round) = self.round(node) {
            self.rounds.insert(round, child);
        }
        child
    }

    /// The first history of a program.
    fn plant(&mut self, program: usize) -> NodeId {
        let (_, next, _) = self.run(program, Vec::new(), None);
        self.nodes.push(Node {
            program,
            depth: 0,
            parent: None,
            heard: None,
            next,
        });
        self.nodes.len() - 1
    }

    /// The first history that reached the round of a loop that begins after `node` with the same
    /// memory: from there on the two are the same.
    fn first_alike(&self, node: NodeId) -> Option<NodeId> {
        self.rounds.get(&self.round(node)?).copied()
    }

    /// The loop's beginning and the round's memory, if a round begins after `node`.
    fn round(&self, node: NodeId) -> Option<(NodeId, u128)> {
        let Next::Call(Call::BeginRound(place, memory)) = self.node(node).next else {
            return None;
        };
        let mut entry = node;
        while self.node(entry).depth > place {
            entry = self
                .node(entry)
                .parent
                .expect("only the first node has no parent");
        }
        (!self.rules.every_history).then_some((entry, memory))
    }

    fn history(&self, node: NodeId) -> Vec<Arc<Heard>> {
        let nodes = std::iter::successors(Some(node), |node| self.node(*node).parent);
        let mut history: Vec<_> = nodes
            .filter_map(|node| self.node(node).heard.clone())
            .collect();
        history.reverse();
        history
    }

    /// Runs a program from its beginning: the history that it has then, what comes next, and the
    /// kernel.
    fn run(
        &self,
        program: usize,
        history: Vec<Arc<Heard>>,
        live: Option<Live>,
    ) -> (Vec<Arc<Heard>>, Next, Option<Live>) {
        let program = self
            .programs
            .get(program)
            .expect("nodes are of programs there are");
        let tape = Tape {
            history,
            played: 0,
            live,
            pending: None,
        };
        let sys = SimSys {
            tape: Arc::new(Mutex::new(tape)),
            rules: self.rules.clone(),
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| program(&sys)));
        let mut tape = sys.tape();
        let next = match (tape.pending.take(), outcome) {
            (Some(call), _) => Next::Call(call),
            (None, Ok(())) => Next::Returned,
            (None, Err(payload)) => Next::Panicked(message(&*payload)),
        };
        (std::mem::take(&mut tape.history), next, tape.live.take())
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id).expect("nodes are never removed")
    }
}

/// What it means if two histories that count as one go on differently.
const FORGETFUL: &str = "a loop remembers more than it says";

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| {
        payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
    });
    text.unwrap_or_else(|| "panicked".to_owned())
}
