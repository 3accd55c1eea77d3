# Builds and tests with exactly the lowest Rust version that Cargo.toml names.
source "$(dirname "$0")/common.bash"

version=$(sed -n 's/^rust-version = "\(.*\)"$/\1.0/p' Cargo.toml | head -n 1)
cargo "+$version" --version 2>/dev/null ||
    timeout 300 rustup --quiet toolchain install "$version" --profile minimal ||
    skip "rustup cannot install Rust $version"

# Not benches and interop, whose other crates need a newer version.
built=(-p rvlf -p rvlf-cli -p rvlf-tests -p rvlf-schedules -p rvlf-async-examples)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/msrv
cargo "+$version" check --locked --all-targets --all-features "${built[@]}"
cargo "+$version" check --locked -p rvlf --no-default-features
cargo "+$version" test --locked -p rvlf --all-features --lib
# The rest of them counts system calls, which are those of one version of std, or takes minutes.
cargo "+$version" test --locked -p rvlf-tests --test lock -- processes:: waiting:: host_program::
cargo "+$version" test --locked -p rvlf-tests --test spec --test table
