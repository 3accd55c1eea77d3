//! The simulated store: one object, replaced under conditions.

use bytes::Bytes;

use crate::fingerprint::fingerprint;
use crate::machine::{Condition, Found, Purpose, Put, Stored, Version};

/// What a store does that it must not do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    /// Writes for this purpose are done whatever their condition.
    pub(crate) ignores_condition: Option<Purpose>,
    /// A release is carried out as a deletion, whatever is there.
    pub(crate) deletes_at_release: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    pub(crate) object: Option<Bytes>,
    /// Earlier states, the latest first, where reads may be stale.
    pub(crate) past: Vec<Option<Bytes>>,
}

impl Store {
    pub(crate) fn meets(&self, condition: &Condition) -> bool {
        match (condition, &self.object) {
            (Condition::Absent, None) => true,
            (Condition::Version(version), Some(object)) => *version == version_of(object),
            _ => false,
        }
    }

    pub(crate) fn executes(&self, faults: Faults, purpose: Purpose, condition: &Condition) -> bool {
        faults.ignores_condition == Some(purpose)
            || faults.deletes_at_release && purpose == Purpose::Release
            || self.meets(condition)
    }

    /// A conditional write.
    pub(crate) fn put(
        &mut self,
        faults: Faults,
        purpose: Purpose,
        bytes: &Bytes,
        condition: &Condition,
    ) -> Put {
        if !self.executes(faults, purpose, condition) {
            return Put::Refused;
        }
        let deletes = faults.deletes_at_release && purpose == Purpose::Release;
        self.replace((!deletes).then(|| bytes.clone()));
        Put::Stored(version_of(bytes))
    }

    pub(crate) fn replace(&mut self, object: Option<Bytes>) {
        let old = std::mem::replace(&mut self.object, object);
        self.past.insert(0, old);
    }
}

pub(crate) fn found(object: Option<&Bytes>) -> Found {
    match object {
        None => Found::Absent,
        Some(bytes) => Found::Present(Stored {
            bytes: bytes.clone(),
            version: version_of(bytes),
            modified_ms: None,
        }),
    }
}

fn version_of(bytes: &Bytes) -> Version {
    Version {
        e_tag: Some(format!("{:032x}", fingerprint(&bytes.as_ref()))),
        version: None,
    }
}
