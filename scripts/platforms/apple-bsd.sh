# Links the command for macOS and FreeBSD, and checks the library for the BSDs without a target of
# rustup's. Nothing of it is run: there is no such system here. The linker and the systems' libraries are
# those of zig, from PyPI.
#
# With RVLF_LIBKQUEUE=DIR, where libkqueue is, the waiting of src/sys/bsd is tested on Linux.
source "$(dirname "$0")/common.bash"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/apple-bsd
skipped=()

install_zig() {
    packages python3-venv
    retry python3 -m venv "$scratch/zig" &&
        retry "$scratch/zig/bin/pip" --quiet install ziglang==0.17.1 cargo-zigbuild==0.24.1 ||
        skip "cannot install zig from PyPI"
    export PATH=$scratch/zig/bin:$PATH
}

# The layout that the crate libc does not have.
check_layouts() {
    local target
    for target in aarch64-macos x86_64-macos; do
        python-zig cc -target "$target" -c scripts/platforms/kinfo.c -o "$scratch/kinfo.o"
    done
}

# The whole command, without the symbols that no process here reads.
link_command() {
    local target=$1 start=$SECONDS
    if ! std_for "$target"; then
        skipped+=("$target")
        return
    fi
    # Apple's SDK, which zig does not need and rustc asks for.
    SDKROOT=$scratch CARGO_PROFILE_DEV_DEBUG=0 RUSTFLAGS="-D warnings" \
        cargo zigbuild --quiet "${cargo_std[@]}" -p rvlf-cli
    echo "$target: the command is linked ($((SECONDS - start)) s)"
}

# The standard library is compiled for these: rustup has none.
check_library() {
    local target=$1 start=$SECONDS
    if ! std_for "$target"; then
        skipped+=("$target")
        return
    fi
    RUSTFLAGS="-D warnings" cargo check --quiet "${cargo_std[@]}" -p rvlf --all-features
    echo "$target: the library is checked ($((SECONDS - start)) s)"
}

if [[ -n ${RVLF_LIBKQUEUE:-} ]]; then
    RUSTFLAGS="--cfg rvlf_kqueue -L native=$RVLF_LIBKQUEUE" LD_LIBRARY_PATH=$RVLF_LIBKQUEUE \
        cargo test --quiet --lib kqueue
fi
check_library x86_64-unknown-openbsd
check_library x86_64-unknown-dragonfly
install_zig
check_layouts
link_command aarch64-apple-darwin
link_command x86_64-apple-darwin
link_command x86_64-unknown-freebsd
((${#skipped[@]} == 0)) || skip "no standard library for ${skipped[*]}"
