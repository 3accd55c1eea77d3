//! A store in memory, and the search over its schedules.
//!
//! The shipped [`machine`] runs against this store unchanged. A [`World`] declares the clients, and what
//! may go wrong and how often. [`World::explore`] tries every order of their steps,
//! [`World::random_walk`] random ones, and [`World::follow`] the one that a list of operations describes.
//!
//! * A request is executed at any moment after it was sent, or never, also when its sender no longer
//!   waits for it. Its answer arrives at any moment after that, or never.
//! * Each client has a clock with a rate of its own. Time passes in ticks.
//! * The version of an object is a hash of its bytes, as it is on most stores.
//!
//! After every step the search checks the promises I6 to I8 of the object-store lock, in `promises.rs`.
//! Limits: a read of the store, and a step of a client, are atomic; all clients step at whole ticks.

#[path = "../../../src/sim/chooser.rs"]
mod chooser;
mod client;
mod events;
mod explorer;
#[path = "../../../src/sim/fingerprint.rs"]
mod fingerprint;
#[allow(unused_imports, reason = "what the driver alone imports")]
#[path = "../../src/machine/mod.rs"]
pub mod machine;
mod plan;
mod promises;
mod report;
mod requests;
mod state;
mod step;
mod store;
mod world;

pub use plan::Operation;
pub use report::{Report, Violation};
pub use world::{Role, World};
