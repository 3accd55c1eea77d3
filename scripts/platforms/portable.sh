# What other Unixes get, and what other systems get, as this system runs it.
source "$(dirname "$0")/common.bash"

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/portable
RUSTFLAGS="--cfg rvlf_portable" cargo test --lib
RUSTFLAGS="--cfg rvlf_unsupported" cargo test --lib
