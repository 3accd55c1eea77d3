//! `tracing` events for what an operator wants in the log: breaks, losses, failed refreshes.
//!
//! Without the feature `tracing` these functions do nothing.

use std::error::Error;
use std::path::Path;

#[cfg(feature = "tracing")]
use crate::escape::Escaped;
use crate::holder::Holder;

#[cfg(feature = "tracing")]
pub(crate) fn broken(lock_path: &Path, holder: &Holder) {
    tracing::warn!(lock_path = %Escaped::path(lock_path), %holder, "broke a lock");
}

#[cfg(feature = "tracing")]
pub(crate) fn lost(lock_path: &Path, reason: &dyn std::fmt::Display) {
    tracing::error!(lock_path = %Escaped::path(lock_path), %reason, "lost a lock");
}

#[cfg(feature = "tracing")]
pub(crate) fn refresh_failed(lock_path: &Path, error: &dyn Error) {
    tracing::warn!(lock_path = %Escaped::path(lock_path), %error, "could not refresh a lock");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn broken(_lock_path: &Path, _holder: &Holder) {}

#[cfg(not(feature = "tracing"))]
pub(crate) fn lost(_lock_path: &Path, _reason: &dyn std::fmt::Display) {}

#[cfg(not(feature = "tracing"))]
pub(crate) fn refresh_failed(_lock_path: &Path, _error: &dyn Error) {}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use std::fmt::{Debug, Write};
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;
    use crate::sys::{IoError, Operation};

    /// Collects the fields of all events.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<String>>);

    impl Visit for Log {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let mut text = self.0.lock().expect("no test panics while it writes");
            writeln!(text, "{field}={value:?}").expect("a string has room");
        }
    }

    impl Subscriber for Log {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            event.record(&mut self.clone());
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    // A log that is followed on a terminal shows the events of every data file.
    #[test]
    fn no_event_has_a_control_or_format_character_of_a_path() {
        let log = Log::default();
        let path = Path::new("a\u{1b}[2J\u{202e}.lock");
        tracing::subscriber::with_default(log.clone(), || {
            let error = io::Error::from(io::ErrorKind::NotFound);
            lost(path, &crate::loss::LossReason::Removed);
            refresh_failed(path, &IoError::new(Operation::File("stat"), path, error));
        });
        let text = log.0.lock().expect("no test panics while it writes");
        let name = r"lock_path=a\u{1b}[2J\u{202e}.lock";
        assert_eq!(text.matches(name).count(), 2, "{text}");
        let is_hidden = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!text.contains(is_hidden), "{text:?}");
    }
}
