//! A directory in memory for the row of numbered manifests, and a search of every schedule of the
//! processes that use it.
//!
//! A process runs the example's own code from its start with the answers that it has had so far, until it
//! makes a call that has no answer yet. The search gives that call every answer that is possible now.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;

use rvlf::WriterId;

use crate::row::{DataFile, Directory, Manifest, Name, NotAcknowledged, Row};

/// What a process does. Each attempt is a hold with a writer id of its own.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// Claims, commits so many times, cleans up.
    Write { attempts: u8, commits: u8 },
    /// Looks for the newest manifest.
    Read { attempts: u8 },
}

/// A rule that is left out, or a weaker rule in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// No look for the mark after a link.
    NoLook,
    /// The look is answered from a cache that is older than the link.
    OldLook,
    /// Names are freed before the mark is there.
    MarkLater,
    /// Instead of the mark: a list after each link, in one moment. A number is freed at once.
    ListAgain,
    /// The same where a listing takes time, and misses what comes or goes meanwhile.
    SlowListAgain,
    /// EEXIST counts as success.
    TakenIsOwn,
    /// EEXIST counts as the manifest of another process.
    TakenIsForeign,
    /// `manifest-<generation>-<n>` instead of `manifest-<n>`.
    NamesPerGeneration,
    /// A process whose commit was not acknowledged removes the data that it wrote for it.
    LoserCleansUp,
    /// The holder removes all data that its newest manifest does not name.
    RemoveAllOtherData,
}

/// How often each mishap may happen in one schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mishaps {
    /// A listing or a read is answered from a cache.
    pub stale: u8,
    /// A request is done, and sent again because the answer is lost.
    pub lost_answers: u8,
    /// A request is done later: after an error, or once more.
    pub late: u8,
    pub crashes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Call {
    Names,
    /// After a failed link with the manifest that was to be linked.
    Read(u64, Option<Manifest>),
    Link(Manifest),
    IsRetired(u64),
    Retire(u64),
    Remove(Name),
    Write(DataFile),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Answer {
    Names(Vec<Name>),
    Read(Option<Manifest>),
    Done,
    Failed(io::ErrorKind),
    Retired(bool),
}

/// What a process reports to its caller.
#[derive(Clone, Copy, Debug)]
enum Event {
    Acknowledged(Manifest),
    Overtaken(WriterId, Manifest),
    Seen(Option<Manifest>),
}

/// The directory as one process sees it: the answers so far, and the call that has none yet.
struct View<'a> {
    answers: &'a [Answer],
    used: Cell<usize>,
    pending: Cell<Option<Call>>,
    linked: Cell<Option<Manifest>>,
    events: &'a RefCell<Vec<Event>>,
}

impl View<'_> {
    fn call(&self, call: Call) -> io::Result<Answer> {
        let answer = self.answers.get(self.used.get());
        match answer {
            Some(Answer::Failed(kind)) => {
                self.used.set(self.used.get() + 1);
                Err((*kind).into())
            }
            Some(answer) => {
                self.used.set(self.used.get() + 1);
                Ok(answer.clone())
            }
            None => {
                let first = self.pending.get().unwrap_or(call);
                self.pending.set(Some(first));
                Err(io::ErrorKind::Interrupted.into())
            }
        }
    }

    fn report(&self, event: Event) {
        if self.pending.get().is_none() {
            self.events.borrow_mut().push(event);
        }
    }
}

impl Directory for &View<'_> {
    fn names(&self) -> io::Result<Vec<Name>> {
        match self.call(Call::Names)? {
            Answer::Names(names) => Ok(names),
            other => unreachable!("{other:?}"),
        }
    }

    fn read(&self, number: u64) -> io::Result<Option<Manifest>> {
        match self.call(Call::Read(number, self.linked.get()))? {
            Answer::Read(found) => Ok(found),
            other => unreachable!("{other:?}"),
        }
    }

    fn link(&self, manifest: &Manifest) -> io::Result<()> {
        self.linked.set(Some(*manifest));
        self.call(Call::Link(*manifest)).map(drop)
    }

    /// Losses of power are not modelled.
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn is_retired(&self, block: u64) -> io::Result<bool> {
        match self.call(Call::IsRetired(block))? {
            Answer::Retired(retired) => Ok(retired),
            other => unreachable!("{other:?}"),
        }
    }

    fn retire(&self, block: u64) -> io::Result<()> {
        self.call(Call::Retire(block)).map(drop)
    }

    fn remove(&self, name: Name) -> io::Result<()> {
        self.call(Call::Remove(name)).map(drop)
    }

    /// The search continues with every later moment.
    fn pause(&self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Process {
    attempt: u8,
    answers: Vec<Answer>,
    pending: Option<Call>,
    reported: usize,
    /// The numbers that were there when a slow listing began, and still are.
    listing: Option<BTreeSet<u64>>,
}

/// Requests that are on their way, with no process that waits for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Request {
    Link(Manifest),
    Retire(u64),
    Remove(Name),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    /// By generation (0 unless names are per generation) and number.
    manifests: BTreeMap<(u64, u64), Manifest>,
    marks: BTreeSet<u64>,
    data: BTreeSet<DataFile>,
    flying: Vec<Request>,
    processes: Vec<Process>,
    mishaps: Mishaps,
    /// What no process sees: the first manifest that ever had each number. This is the row.
    row: BTreeMap<u64, Manifest>,
}

/// The shortest schedule that breaks a promise, and the promise.
#[derive(Debug)]
pub struct Violation {
    pub promise: String,
    steps: Vec<String>,
}

pub struct World {
    pub block_len: u64,
    pub programs: Vec<Program>,
    pub mishaps: Mishaps,
    pub weakness: Option<Weakness>,
}

type Outcome<T> = Result<T, String>;

/// The state after a step, or the promise that it broke.
type Way = (Step, Outcome<State>);
type Answered = (&'static str, Outcome<State>);

/// A step of a schedule.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A call of a process, and how it went.
    Call(usize, Call, &'static str),
    Late(Request),
}

impl World {
    /// Tries every schedule; returns how many states there are.
    pub fn explore(&self) -> Result<usize, Violation> {
        let mut start = State {
            manifests: BTreeMap::new(),
            marks: BTreeSet::new(),
            data: BTreeSet::new(),
            flying: Vec::new(),
            processes: vec![Process::default(); self.programs.len()],
            mishaps: self.mishaps,
            row: BTreeMap::new(),
        };
        for process in 0..self.programs.len() {
            self.run(&mut start, process).expect("no call is answered");
        }
        let mut seen = HashSet::from([fingerprint(&start)]);
        let mut parents = Vec::new();
        let mut queue = VecDeque::from([(None, start)]);
        while let Some((parent, state)) = queue.pop_front() {
            if seen.len() > 3_000_000 {
                return Ok(0);
            }
            for (step, outcome) in self.successors(&state) {
                match outcome {
                    Err(promise) => return Err(violation(&parents, parent, step, promise)),
                    Ok(next) if seen.insert(fingerprint(&next)) => {
                        parents.push((parent, step));
                        queue.push_back((Some(parents.len() - 1), next));
                    }
                    Ok(_) => {}
                }
            }
        }
        Ok(seen.len())
    }

    /// Runs one attempt of a process from its start, until it needs an answer or has ended.
    fn attempt(&self, process: usize, state: &Process, view: &View<'_>) {
        let row = Row {
            directory: view,
            block_len: self.block_len,
        };
        match self.programs.get(process) {
            Some(Program::Read { .. }) => {
                if let Ok(found) = row.newest() {
                    view.report(Event::Seen(found));
                }
            }
            Some(Program::Write { commits, .. }) => {
                let mut id = [0; 16];
                id[0] = process as u8 + 1;
                id[1] = state.attempt;
                self.write(&row, id.into(), *commits);
            }
            None => unreachable!("every process has a program"),
        }
    }

    fn write(&self, row: &Row<&View<'_>>, writer_id: WriterId, commits: u8) {
        let view = row.directory;
        let not_acknowledged = |error: NotAcknowledged| {
            if let NotAcknowledged::Overtaken(by) = error {
                view.report(Event::Overtaken(writer_id, by));
            }
        };
        let mut hold = match row.claim(writer_id) {
            Ok(hold) => hold,
            Err(error) => return not_acknowledged(error),
        };
        view.report(Event::Acknowledged(hold.newest()));
        for _ in 0..commits {
            let data = hold.next_data();
            if view.call(Call::Write(data)).is_err() {
                return;
            }
            hold = match hold.commit(data) {
                Ok(hold) => hold,
                Err(error) => {
                    if self.weakness == Some(Weakness::LoserCleansUp) {
                        let _ = view.call(Call::Remove(Name::Data(data)));
                    }
                    return not_acknowledged(error);
                }
            };
            view.report(Event::Acknowledged(hold.newest()));
        }
        if self.weakness == Some(Weakness::RemoveAllOtherData) {
            let Ok(names) = view.names() else { return };
            for name in names {
                if matches!(name, Name::Data(data) if Some(data) != hold.newest().data) {
                    let _ = view.remove(name);
                }
            }
        }
        let _ = hold.clean_up();
    }

    /// Runs a process that has got an answer, and checks what it reports.
    fn run(&self, state: &mut State, index: usize) -> Outcome<()> {
        let Some(mut process) = state.processes.get(index).cloned() else {
            unreachable!("there is a process with this index");
        };
        let events = RefCell::default();
        let view = View {
            answers: &process.answers,
            used: Cell::new(0),
            pending: Cell::new(None),
            linked: Cell::new(None),
            events: &events,
        };
        self.attempt(index, &process, &view);
        let pending = view.pending.get();
        let new = events.into_inner();
        for event in new.iter().skip(process.reported) {
            check(state, event)?;
        }
        process.reported = new.len();
        process.pending = pending;
        if let Some(place) = state.processes.get_mut(index) {
            *place = process;
        }
        match pending {
            Some(_) => Ok(()),
            None => self.end(state, index),
        }
    }

    /// The attempt has ended or its process was killed: the next one begins.
    fn end(&self, state: &mut State, index: usize) -> Outcome<()> {
        let attempts = match self.programs.get(index) {
            Some(Program::Write { attempts, .. } | Program::Read { attempts }) => *attempts,
            None => 0,
        };
        let Some(process) = state.processes.get_mut(index) else {
            return Ok(());
        };
        *process = Process {
            attempt: process.attempt + 1,
            ..Process::default()
        };
        match process.attempt < attempts {
            true => self.run(state, index),
            false => Ok(()),
        }
    }

    fn successors(&self, state: &State) -> Vec<Way> {
        let mut found = Vec::new();
        for (index, process) in state.processes.iter().enumerate() {
            let Some(call) = process.pending else {
                continue;
            };
            for (how, outcome) in self.answers(state, index, call) {
                found.push((Step::Call(index, call, how), outcome));
            }
            if let Some(mut next) = spend(state, |left| &mut left.crashes) {
                let outcome = self.end(&mut next, index).map(|()| next);
                found.push((Step::Call(index, call, "killed before"), outcome));
            }
        }
        for (at, request) in state.flying.iter().enumerate() {
            let mut next = state.clone();
            next.flying.remove(at);
            let outcome = self.execute(&mut next, *request).map(|_| next);
            found.push((Step::Late(*request), outcome));
        }
        found
    }

    /// Every way in which a call may go.
    fn answers(&self, state: &State, index: usize, call: Call) -> Vec<Answered> {
        let done = |state: &State, how| (how, self.answer(state, index, Answer::Done));
        let lists_again = [Weakness::ListAgain, Weakness::SlowListAgain].map(Some);
        match call {
            Call::Names => self.list(state, index),
            Call::Read(number, linked) => self.read(state, index, number, linked),
            Call::IsRetired(block) => self.look(state, index, block),
            Call::Write(data) => {
                let mut next = state.clone();
                next.data.insert(data);
                vec![done(&next, "done")]
            }
            Call::Link(manifest) => self.request(state, index, Request::Link(manifest)),
            Call::Remove(name) => self.request(state, index, Request::Remove(name)),
            Call::Retire(_) if lists_again.contains(&self.weakness) => {
                vec![done(state, "left out")]
            }
            Call::Retire(block) if self.weakness == Some(Weakness::MarkLater) => {
                let mut next = state.clone();
                next.flying.push(Request::Retire(block));
                vec![done(&next, "done later")]
            }
            Call::Retire(block) => self.request(state, index, Request::Retire(block)),
        }
    }

    fn list(&self, state: &State, index: usize) -> Vec<Answered> {
        let fresh = Answer::Names(self.fresh_names(state));
        let mut ways = vec![("answered", self.answer(state, index, fresh))];
        if let Some(state) = spend(state, |left| &mut left.stale) {
            let numbers = state.row.keys().map(|number| vec![Name::Manifest(*number)]);
            for old in numbers.chain([Vec::new()]) {
                let outcome = self.answer(&state, index, Answer::Names(old));
                ways.push(("an old answer", outcome));
            }
        }
        ways
    }

    fn fresh_names(&self, state: &State) -> Vec<Name> {
        let newest = state
            .manifests
            .keys()
            .map(|(generation, _)| *generation)
            .max();
        let manifests = state.manifests.keys();
        let manifests = manifests.filter(|(generation, _)| Some(*generation) == newest);
        let manifests = manifests.map(|(_, number)| Name::Manifest(*number));
        let marks = state.marks.iter().map(|block| Name::Retired(*block));
        let data = state.data.iter().map(|data| Name::Data(*data));
        manifests.chain(marks).chain(data).collect()
    }

    fn key(&self, generation: u64, number: u64) -> (u64, u64) {
        match self.weakness == Some(Weakness::NamesPerGeneration) {
            true => (generation, number),
            false => (0, number),
        }
    }

    fn read(
        &self,
        state: &State,
        index: usize,
        number: u64,
        linked: Option<Manifest>,
    ) -> Vec<Answered> {
        let newest = state.manifests.keys().map(|(generation, _)| *generation);
        let newest = newest.max().unwrap_or(0);
        let generation = linked.map_or(newest, |manifest| manifest.generation);
        let mut found = state.manifests.get(&self.key(generation, number)).copied();
        if let (Some(own), Some(there)) = (linked, &mut found) {
            match self.weakness {
                Some(Weakness::TakenIsOwn) => *there = own,
                Some(Weakness::TakenIsForeign) => there.writer_id = [255; 16].into(),
                _ => {}
            }
        }
        let how = match found {
            None => "not there",
            _ if found == linked => "its own",
            _ => "another's",
        };
        let mut ways = vec![(how, self.answer(state, index, Answer::Read(found)))];
        if let Some(state) = spend(state, |left| &mut left.stale) {
            let first = state.row.get(&number).copied();
            for old in [None, first] {
                let outcome = self.answer(&state, index, Answer::Read(old));
                ways.push(("an old answer", outcome));
            }
        }
        ways
    }

    /// The look after a link.
    fn look(&self, state: &State, index: usize, block: u64) -> Vec<Answered> {
        let numbers: BTreeSet<u64> = state.manifests.keys().map(|(_, number)| *number).collect();
        let newer = |listed: &BTreeSet<u64>| listed.last().is_some_and(|last| *last > block);
        let answer = |retired: bool| {
            let how = if retired { "retired" } else { "not retired" };
            (how, self.answer(state, index, Answer::Retired(retired)))
        };
        let marked = state.marks.contains(&block);
        match self.weakness {
            Some(Weakness::NoLook) => vec![answer(false)],
            Some(Weakness::OldLook) => vec![answer(false), answer(marked)],
            Some(Weakness::ListAgain) => vec![answer(newer(&numbers))],
            Some(Weakness::SlowListAgain) => {
                let process = state.processes.get(index);
                if let Some(listing) = process.and_then(|process| process.listing.as_ref()) {
                    return vec![answer(newer(listing))];
                }
                let mut next = state.clone();
                if let Some(process) = next.processes.get_mut(index) {
                    process.listing = Some(numbers);
                }
                vec![("begins to list", Ok(next))]
            }
            _ => vec![answer(marked)],
        }
    }

    /// A request that changes the directory: done and answered, done and sent again, done later.
    fn request(&self, state: &State, index: usize, request: Request) -> Vec<Answered> {
        let done = |state: &State| {
            let mut next = state.clone();
            let answer = self.execute(&mut next, request)?;
            self.answer(&next, index, answer)
        };
        let mut ways = vec![("done", done(state))];
        if let Some(mut next) = spend(state, |left| &mut left.lost_answers) {
            let outcome = self.execute(&mut next, request).map(|_| next);
            ways.push(("done, and the answer lost: sent again", outcome));
        }
        if let Some(mut next) = spend(state, |left| &mut left.late) {
            next.flying.push(request);
            let timeout = Answer::Failed(io::ErrorKind::TimedOut);
            ways.push(("timed out", self.answer(&next, index, timeout)));
            ways.push(("done, and once more later", done(&next)));
        }
        ways
    }

    fn execute(&self, state: &mut State, request: Request) -> Outcome<Answer> {
        match request {
            Request::Link(manifest) => {
                let key = self.key(manifest.generation, manifest.number);
                if state.manifests.contains_key(&key) {
                    return Ok(Answer::Failed(io::ErrorKind::AlreadyExists));
                }
                state.manifests.insert(key, manifest);
                if !state.row.contains_key(&manifest.number) {
                    continues(state, &manifest)?;
                    state.row.insert(manifest.number, manifest);
                }
            }
            Request::Retire(block) => {
                state.marks.insert(block);
            }
            Request::Remove(Name::Manifest(number)) => {
                state.manifests.retain(|(_, key), _| *key != number);
                for process in &mut state.processes {
                    if let Some(listing) = &mut process.listing {
                        listing.remove(&number);
                    }
                }
            }
            Request::Remove(Name::Data(data)) => {
                state.data.remove(&data);
            }
            Request::Remove(Name::Retired(_)) => return Err("a mark was removed".into()),
        }
        has_its_data(state)?;
        Ok(Answer::Done)
    }

    /// The state in which the process has the answer and has run on to its next call.
    fn answer(&self, state: &State, index: usize, answer: Answer) -> Outcome<State> {
        let mut next = state.clone();
        if let Some(process) = next.processes.get_mut(index) {
            process.answers.push(answer);
            process.listing = None;
        }
        self.run(&mut next, index)?;
        Ok(next)
    }
}

/// The state with one mishap less, if one is left.
fn spend(state: &State, kind: impl Fn(&mut Mishaps) -> &mut u8) -> Option<State> {
    let mut next = state.clone();
    let left = kind(&mut next.mishaps);
    *left = left.checked_sub(1)?;
    Some(next)
}

/// The promises that a report of a process can break.
fn check(state: &State, event: &Event) -> Outcome<()> {
    match event {
        Event::Acknowledged(manifest) if state.row.get(&manifest.number) != Some(manifest) => {
            Err(format!("acknowledged, and not in the row: {manifest:?}"))
        }
        Event::Overtaken(own, by)
            if state
                .row
                .get(&by.number)
                .is_some_and(|first| first.writer_id == *own) =>
        {
            Err(format!("refused, and in the row: number {}", by.number))
        }
        Event::Seen(Some(manifest)) if state.row.get(&manifest.number) != Some(manifest) => {
            Err(format!("a reader saw what is not in the row: {manifest:?}"))
        }
        _ => Ok(()),
    }
}

/// A manifest of the row is a claim of its predecessor, or a commit of the hold that added that.
fn continues(state: &State, manifest: &Manifest) -> Outcome<()> {
    let before = manifest
        .number
        .checked_sub(1)
        .and_then(|number| state.row.get(&number));
    let fits = match before {
        None => manifest.number == 1 && manifest.generation == 1 && manifest.data.is_none(),
        Some(before) if before.writer_id == manifest.writer_id => {
            manifest.generation == before.generation
        }
        Some(before) => {
            manifest.generation == before.generation + 1 && manifest.data == before.data
        }
    };
    match fits {
        true => Ok(()),
        false => Err(format!("{manifest:?} does not continue {before:?}")),
    }
}

fn has_its_data(state: &State) -> Outcome<()> {
    let newest = state
        .row
        .values()
        .next_back()
        .and_then(|newest| newest.data);
    match newest {
        Some(data) if !state.data.contains(&data) => Err(format!(
            "the newest manifest names {data:?}, which was removed"
        )),
        _ => Ok(()),
    }
}

fn fingerprint(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

fn violation(
    parents: &[(Option<usize>, Step)],
    mut at: Option<usize>,
    last: Step,
    promise: String,
) -> Violation {
    let mut steps = vec![last];
    while let Some((parent, step)) = at.and_then(|at| parents.get(at)) {
        steps.push(*step);
        at = *parent;
    }
    let steps = steps.iter().rev().map(Step::to_string).collect();
    Violation { promise, steps }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps
            .iter()
            .try_for_each(|step| writeln!(f, "  {step}"))?;
        f.write_str(&self.promise)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Call(index, call, how) => {
                write!(f, "{}: {call:?}: {how}", char::from(b'A' + *index as u8))
            }
            Step::Late(request) => write!(f, "late: {request:?}"),
        }
    }
}
