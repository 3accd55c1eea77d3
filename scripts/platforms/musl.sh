# The tests as static programs with musl, as on Alpine.
source "$(dirname "$0")/common.bash"

packages musl-tools
target=x86_64-unknown-linux-musl
std_for $target || skip "no standard library for $target"
((${#cargo_std[@]} == 2)) || skip "rustup alone has a standard library with musl and its unwinder in it"

cargo build --quiet "${cargo_std[@]}" -p rvlf-cli
cargo test --no-fail-fast "${cargo_std[@]}" -p rvlf --all-features --lib
# These tests mostly wait.
RUST_TEST_THREADS=5 cargo test --no-fail-fast "${cargo_std[@]}" -p rvlf-tests --test lock -- \
    processes:: waiting:: keepalive:: lent:: cancel:: directories::
cargo test --no-fail-fast "${cargo_std[@]}" -p rvlf-tests --test spec --test table
