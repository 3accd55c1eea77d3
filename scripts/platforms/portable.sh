# What other Unixes get, and what other systems get, as this system runs it.
source "$(dirname "$0")/common.bash"

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/portable
for system in portable unsupported; do
    RUSTFLAGS="--cfg rvlf_$system" cargo clippy --quiet -p rvlf --all-features --all-targets -- -D warnings
done
RUSTFLAGS="--cfg rvlf_portable" cargo test --lib
# There no file system is known to be local: the table's lock is the file beside it.
RUSTFLAGS="--cfg rvlf_portable" cargo test -p rvlf-tests --test table -- operations:: scope:: killed_workers
RUSTFLAGS="--cfg rvlf_unsupported" cargo test --lib
