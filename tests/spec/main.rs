//! The library against the standard in `spec/`, and the standard against itself.

mod ages;
mod judge_json;
mod judge_table;
mod no_std;
mod pages;
mod properties;
mod references;
mod spec_table;
mod store_table;
mod vectors;
