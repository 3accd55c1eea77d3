# The suite on 32-bit x86, which a 64-bit kernel runs natively.
source "$(dirname "$0")/common.bash"

packages gcc-i686-linux-gnu libc6-dev-i386-cross strace
target=i686-unknown-linux-gnu
std_for $target || skip "no standard library for $target"

# Linked with the C library of the cross compiler, and not statically: a static program draws random
# numbers by opening /dev/urandom, which the tests of confinement and of descriptors notice.
library=/usr/i686-linux-gnu/lib
export CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_LINKER=i686-linux-gnu-gcc
export CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=-Wl,-rpath,$library \
-C link-arg=-Wl,--dynamic-linker,$library/ld-linux.so.2"
cargo build --quiet "${cargo_std[@]}" -p rvlf-cli
cargo test --no-fail-fast "${cargo_std[@]}" -p rvlf --all-features --lib
# These tests mostly wait.
RUST_TEST_THREADS=5 cargo test --no-fail-fast "${cargo_std[@]}" -p rvlf-tests --test lock --test table
# The other tests of the judge's table take minutes where 128-bit numbers are four words.
cargo test --no-fail-fast "${cargo_std[@]}" -p rvlf-tests --test spec -- vectors:: spec_table::
