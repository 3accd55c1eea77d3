//! What a user asks of a server before relying on it: the self-test, and races.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use crate::machine::{Condition, Found, Put};
use crate::self_test::{
    Scratch, SelfTestError, Subject, deadline_after, on_a_runtime, random_key, self_test,
};

/// The contenders of one race.
const CONTENDERS: u32 = 8;
/// The races of each kind. A server that checks and writes in two steps lets two of 8 contenders win
/// in most of its rounds.
const ROUNDS: u32 = 20;

/// What [`diagnose`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Diagnosis {
    /// 8 contenders create one object at the same time.
    pub create: Races,
    /// 8 contenders update one object at the same time, all from the same version.
    pub update: Races,
}

impl Diagnosis {
    /// Whether no race had two winners.
    #[must_use]
    pub fn is_suitable(&self) -> bool {
        self.create.several_winners == 0 && self.update.several_winners == 0
    }
}

/// The outcomes of races of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Races {
    /// One contender won: what a lock needs.
    pub one_winner: u32,
    /// More than one won: on this server a lock would have two holders.
    pub several_winners: u32,
    /// None won, because requests were lost or all were refused. This costs time only.
    pub no_winner: u32,
}

impl fmt::Display for Races {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            one_winner,
            several_winners,
            no_winner,
        } = self;
        write!(
            f,
            "{one_winner} races with one winner, {several_winners} with several"
        )?;
        if *no_winner > 0 {
            write!(f, ", {no_winner} with none")?;
        }
        Ok(())
    }
}

/// Runs the [`self_test`], then 20 races of 8 contenders who create an object and 20 of 8 who update
/// one, on random keys beside `lock_key`. Takes seconds, and up to a minute on a slow server.
///
/// # Errors
///
/// Those of [`self_test`]. A race with two winners is a finding, and no error.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use object_store::memory::InMemory;
/// use rvlf_object_store::{Bucket, diagnose};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let bucket = Bucket::new(Arc::new(InMemory::new()), "memory://");
/// let diagnosis = diagnose(&bucket, "data/x.lock", Duration::from_secs(60)).await?;
/// assert!(diagnosis.is_suitable());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn diagnose(
    scratch: &dyn Scratch,
    lock_key: &str,
    timeout: Duration,
) -> Result<Diagnosis, SelfTestError> {
    on_a_runtime(test_and_races(scratch, lock_key, timeout)).await
}

async fn test_and_races(
    scratch: &dyn Scratch,
    lock_key: &str,
    timeout: Duration,
) -> Result<Diagnosis, SelfTestError> {
    let deadline = deadline_after(timeout);
    self_test(scratch, lock_key, timeout).await?;
    let mut diagnosis = Diagnosis {
        create: Races::default(),
        update: Races::default(),
    };
    for _ in 0..ROUNDS {
        let key = random_key(lock_key)?;
        let object = Subject {
            register: scratch.register(&key),
            deadline,
        };
        let round = round(&object, &mut diagnosis).await;
        // Best effort, as in the self-test.
        let _ = tokio::time::timeout(Duration::from_secs(1), scratch.delete(&key)).await;
        round?;
    }
    Ok(diagnosis)
}

/// One race of each kind on one object: who creates it, and who updates it first.
async fn round(object: &Subject, diagnosis: &mut Diagnosis) -> Result<(), SelfTestError> {
    race(object, &Condition::Absent, "create", &mut diagnosis.create).await?;
    let Found::Present(created) = object.get().await? else {
        diagnosis.update.no_winner += 1;
        return Ok(());
    };
    race(
        object,
        &Condition::Version(created.version),
        "update",
        &mut diagnosis.update,
    )
    .await
}

async fn race(
    object: &Subject,
    condition: &Condition,
    kind: &str,
    races: &mut Races,
) -> Result<(), SelfTestError> {
    let texts: Vec<Bytes> = (0..CONTENDERS)
        .map(|contender| format!("a diagnosis of rvlf: {kind} by contender {contender}\n").into())
        .collect();
    let requests = texts
        .iter()
        .map(|text| object.answer(object.register.put_if(text.clone(), condition.clone())));
    let mut won = Vec::new();
    for (text, answer) in texts.iter().zip(join_all(requests).await) {
        if let Ok(Put::Stored(_)) = answer? {
            won.push(text);
        }
    }
    // A write whose answer was lost may have won as well: it is in the object, or was overwritten by
    // one whose answer was that it had won.
    if let Found::Present(found) = object.get().await? {
        if let Some(winner) = texts.iter().find(|text| **text == found.bytes) {
            if !won.contains(&winner) {
                won.push(winner);
            }
        }
    }
    match won.len() {
        0 => races.no_winner += 1,
        1 => races.one_winner += 1,
        _ => races.several_winners += 1,
    }
    Ok(())
}
