//! x
#![cfg_attr(not(feature = "std"), no_std)]
pub mod judge; pub mod record; pub(crate) mod sys;
