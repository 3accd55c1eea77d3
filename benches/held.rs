//! Ten thousand locks in one process: being measured.
fn main() {}
