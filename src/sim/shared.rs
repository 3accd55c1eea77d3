//! A value that states share until one of them changes it. Millions of states are kept at a time, and a
//! step changes little of each.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Copied when it is changed, if another state has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    pub(super) fn new(value: T) -> Shared<T> {
        Shared(Arc::new(value))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}
