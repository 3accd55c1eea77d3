//! Builds the machine with the rules that a search can leave out.

fn main() {
    println!("cargo::rustc-cfg=rvlf_sim");
    println!("cargo::rerun-if-changed=build.rs");
}
