//! The protocol without I/O: what the store answered goes in, the next request comes out.
//!
//! The machine reads no clock, starts no thread and sends nothing. The asynchronous lock, the blocking
//! one and the search of the simulated store run the same code. Source: `spec/object-store.md`.
//!
//! * [`Acquire`] looks, judges and writes, until it ends with a [`Hold`] or a refusal.
//! * [`Hold`] refreshes, commits and releases.
//! * Both leave the fate of a conditional write to the settle rule, in `write.rs`.

mod acquire;
mod clocks;
mod content;
mod hold;
mod look;
mod object;
mod pause;
mod rules;
mod step;
#[cfg(test)]
mod tests;
mod timing;
mod write;

pub use acquire::{Acquire, AcquireEnd, AcquireSettings, AcquireStep, Refusal};
pub use content::{Content, Writer};
pub use hold::{CommitEnd, Hold, HoldStep, Loss};
pub use look::judge;
pub use object::{Condition, ErrorClass, Found, Put, Stored, Version};
pub(crate) use pause::Pause;
pub use rules::{Omission, Rule};
pub use step::{Answer, CommitId, Moment, Purpose, Request, RequestId};
pub use timing::Timing;
