# The lock and the command on Windows, as far as wine shows them: unit tests, the standard, and processes
# that hold, die and hand over. What wine does not show is tests/windows/real.rs, for a machine with Windows.
source "$(dirname "$0")/common.bash"
source "$(dirname "$0")/wine.bash"

scratch=$(mktemp -d)
trap 'end_wine; rm -rf "$scratch"' EXIT
set_up_wine "$scratch"

# Wine's share modes exclude the processes of one prefix: only a build for tests counts its volumes as local.
flags="-D warnings --cfg rvlf_wine"
export CARGO_PROFILE_DEV_DEBUG=0
cargo clippy --quiet "${cargo_std[@]}" -p rvlf -p rvlf-cli -p rvlf-windows-tests --all-targets -- -D warnings
run() {
    RUSTFLAGS=$flags cargo test "${cargo_std[@]}" --quiet "$@"
}
run -p rvlf --lib --all-features
run -p rvlf-windows-tests -- --nocapture
run -p rvlf-cli --bins --test portable
# The record and the judge are the same everywhere: their vectors, and the table once.
run -p rvlf-tests --test spec -- vectors judge_follows
run -p rvlf-interop --test deployed_on_windows

# The audit sees what it is there for: with the share mode of a holder weakened, holds overlap.
if CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/weak RUSTFLAGS="$flags --cfg rvlf_weak_share" \
    cargo test "${cargo_std[@]}" --quiet -p rvlf-windows-tests inherited_a_hold >"$scratch/weak" 2>&1; then
    echo "the tests pass although holders share everything"
    exit 1
fi
grep -m 1 "overlaps: [1-9]" "$scratch/weak" || { tail -n 30 "$scratch/weak" && exit 1; }

# Without the flag no volume is local under wine: what shares of file servers get.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/shares RUSTFLAGS="-D warnings" \
    cargo test "${cargo_std[@]}" --quiet -p rvlf-windows-tests by_age
