//! The self-test of a server, when an acquisition needs it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{AcquireError, StoreError};
use crate::machine::{Answer, Condition, ErrorClass, Found, Put, Request, Version};
use crate::self_test::{Scratch, SelfTestError, self_test};

/// As the default lease: ten requests to a slow server.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where the self-test of a lock is made.
#[derive(Clone)]
pub(crate) struct SelfTest {
    pub(crate) scratch: Arc<dyn Scratch>,
    pub(crate) lock_key: String,
}

impl fmt::Debug for SelfTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfTest")
            .field("lock_key", &self.lock_key)
            .finish_non_exhaustive()
    }
}

impl SelfTest {
    /// Takes the time that it needs, whatever the timeout of the caller: without it there is no lock.
    pub(super) async fn run(self) -> Result<(), SelfTestError> {
        self_test(&*self.scratch, &self.lock_key, TIMEOUT).await
    }
}

/// Finds out that a server has to be tested, from what an acquisition sends and is answered.
#[derive(Debug)]
pub(super) struct Suspicion {
    /// Whether no object is a reason: not for a break, which creates nothing.
    of_absence: bool,
    /// The version that the latest write named.
    named: Option<Version>,
    /// Whether the store refused that write.
    is_refused: bool,
}

impl Suspicion {
    pub(super) fn new(of_absence: bool) -> Suspicion {
        Suspicion {
            of_absence,
            named: None,
            is_refused: false,
        }
    }

    pub(super) fn sent(&mut self, request: &Request) {
        if let Request::Put { condition, .. } = request {
            self.is_refused = false;
            self.named = match condition {
                Condition::Absent => None,
                Condition::Version(version) => Some(version.clone()),
            };
        }
    }

    /// Whether this answer is a reason for the test: there is no lock object, which would prove that the
    /// server was tested; or a write was refused although the object has the very version that it named,
    /// as by servers that want ETags without quotes.
    pub(super) fn is_raised_by(&mut self, answer: &Answer) -> bool {
        match answer {
            Answer::Written { answer, .. } => {
                self.is_refused = *answer == Ok(Put::Refused);
                false
            }
            Answer::Got { answer, .. } => match answer {
                Ok(Found::Absent) | Err(ErrorClass::Denied) => self.of_absence,
                Ok(Found::Present(stored)) => {
                    self.is_refused && self.named.as_ref() == Some(&stored.version)
                }
                Err(_) => false,
            },
        }
    }
}

/// The failure of a self-test, as the acquisition reports it.
pub(super) fn failure(name: String, error: SelfTestError) -> AcquireError {
    match error {
        SelfTestError::Unsuitable { what, .. } => AcquireError::Unsuitable { name, what },
        SelfTestError::Store { error, .. } => {
            let class = error.class;
            let source = Some(error);
            match class {
                ErrorClass::Denied => StoreError::Denied { name, source }.into(),
                _ => StoreError::Permanent { name, source }.into(),
            }
        }
        SelfTestError::Timeout { last: source, .. } => StoreError::NoAnswer { name, source }.into(),
        SelfTestError::Random(source) | SelfTestError::Thread(source) => {
            StoreError::Host { name, source }.into()
        }
    }
}
