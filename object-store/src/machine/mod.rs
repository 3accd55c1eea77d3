//! The protocol without I/O: events in, effects out.

mod object;

pub use object::{Condition, Found, Put, Stored, Version};
