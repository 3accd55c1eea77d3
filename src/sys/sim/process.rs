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

use super::super::{
    Access, Check, Extent, Flock, Flocked, Head, Identity, Liveness, Loop, Now, Stat, Sys, Woken,
};
use super::call::{Call, Fd, Fork, Reply, WatchId};
use super::fingerprint::fingerprint;
use super::kernel::Rules;
use crate::judge::FileSystem;
use crate::record::{Hostname, Pid};

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

/// The history of one process, being played.
struct Tape {
    history: Vec<(Call, Reply)>,
    played: usize,
    pending: Option<Call>,
}

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

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reply to `call`; beyond the history, the end of this run.
    ///
    /// A process that is parked or killed executes nothing more, not even the calls of a `Drop`: while
    /// its program unwinds, calls have no effect and fail.
    fn call(&self, call: Call) -> Reply {
        if std::thread::panicking() {
            return Reply::failed(Errno::ESRCH);
        }
        let mut tape = self.tape();
        let played = tape.played;
        match tape.history.get(played).cloned() {
            Some((recorded, reply)) => {
                tape.played += 1;
                drop(tape);
                assert_eq!(
                    recorded, call,
                    "a program must be a function of the replies it gets"
                );
                reply
            }
            None => {
                tape.pending.get_or_insert(call);
                drop(tape);
                resume_unwind(Box::new(Parked))
            }
        }
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
            Reply::Watch(id) => Ok(SimWatch {
                sys: self.clone(),
                id,
            }),
            reply => Err(reply.into_error()),
        }
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

    fn begin_loop(&self) -> Loop {
        let place = self.tape().played;
        self.call(Call::BeginLoop);
        Loop(place)
    }

    fn begin_round(&self, of: Loop, memory: &dyn fmt::Debug) {
        let memory = fingerprint(&format!("{memory:?}"));
        self.call(Call::BeginRound(of.0, memory));
    }

    fn omits(&self, check: Check) -> bool {
        self.rules.omitted.contains(&check)
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
    /// The history before the last reply, and that reply.
    parent: Option<(NodeId, Reply)>,
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
        let roots = (0..histories.programs.len()).map(|program| histories.grow(program, None));
        histories.roots = roots.collect();
        histories
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

    /// The history that `reply` continues.
    pub(super) fn after(&mut self, node: NodeId, reply: Reply) -> NodeId {
        let key = (node, reply);
        if let Some(child) = self.children.get(&key) {
            return *child;
        }
        let child = self.grow(self.node(node).program, Some(key.clone()));
        let child = self.first_alike(node, child);
        self.children.insert(key, child);
        child
    }

    /// The first history that reached the round of a loop that begins after `node` with the same
    /// memory: from here on the two are the same.
    fn first_alike(&mut self, node: NodeId, child: NodeId) -> NodeId {
        let Next::Call(Call::BeginRound(place, memory)) = self.node(node).next else {
            return child;
        };
        if self.rules.every_history {
            return child;
        }
        let mut entry = node;
        while self.node(entry).depth > place {
            let parent = self.node(entry).parent.as_ref();
            entry = parent.expect("only the first node has no parent").0;
        }
        let first = *self.rounds.entry((entry, memory)).or_insert(child);
        let (one, other) = (&self.node(first).next, &self.node(child).next);
        assert_eq!(one, other, "a loop remembers more than it says");
        first
    }

    fn grow(&mut self, program: usize, parent: Option<(NodeId, Reply)>) -> NodeId {
        let history = self.history(parent.as_ref());
        let depth = history.len();
        let next = self.run(program, history);
        self.nodes.push(Node {
            program,
            depth,
            parent,
            next,
        });
        self.nodes.len() - 1
    }

    fn history<'h>(&'h self, mut last: Option<&'h (NodeId, Reply)>) -> Vec<(Call, Reply)> {
        let mut history = Vec::new();
        while let Some((node, reply)) = last {
            let node = self.node(*node);
            if let Next::Call(call) = &node.next {
                history.push((call.clone(), reply.clone()));
            }
            last = node.parent.as_ref();
        }
        history.reverse();
        history
    }

    fn run(&self, program: usize, history: Vec<(Call, Reply)>) -> Next {
        let program = self
            .programs
            .get(program)
            .expect("nodes are of programs there are");
        let tape = Tape {
            history,
            played: 0,
            pending: None,
        };
        let sys = SimSys {
            tape: Arc::new(Mutex::new(tape)),
            rules: self.rules.clone(),
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| program(&sys)));
        let pending = sys.tape().pending.take();
        match (pending, outcome) {
            (Some(call), _) => Next::Call(call),
            (None, Ok(())) => Next::Returned,
            (None, Err(payload)) => Next::Panicked(message(&*payload)),
        }
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id).expect("nodes are never removed")
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| {
        payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
    });
    text.unwrap_or_else(|| "panicked".to_owned())
}
