//! Any sequence of operations on an allocation table does what a naive model does: a list of paths
//! for each holder, in which no holder has what another has.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| support::table_model::compare(bytes));
