//! Builds the library with the threads of `virtual`.

fn main() {
    println!("cargo::rustc-cfg=rvlf_shuttle");
    // The library's features are not this package's.
    println!("cargo::rustc-check-cfg=cfg(feature, values(any()))");
    println!("cargo::rerun-if-changed=build.rs");
}
