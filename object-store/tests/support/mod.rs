//! What the tests of several binaries use.
#![allow(dead_code)] // each binary uses a part

pub mod stub;
