# Lints the library and the command, with warnings denied, for targets that have no part of their own.
source "$(dirname "$0")/common.bash"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
pretend_to_compile_c "$scratch/cc"
skipped=()

# check TARGET PACKAGES..
check() {
    local target=$1 start=$SECONDS
    shift
    if ! std_for "$target"; then
        skipped+=("$target")
        return
    fi
    cargo clippy --quiet "${cargo_std[@]}" "$@" -- -D warnings
    echo "$target: $* ($((SECONDS - start)) s)"
}

command=(-p rvlf -p rvlf-cli --all-features)
library=(-p rvlf --all-features)
check armv7-unknown-linux-gnueabihf "${command[@]}"
check aarch64-unknown-linux-gnu "${command[@]}"
check s390x-unknown-linux-gnu "${command[@]}"
check x86_64-unknown-freebsd "${command[@]}"
check x86_64-unknown-netbsd "${command[@]}"
check x86_64-unknown-illumos "${command[@]}"
check aarch64-linux-android "${library[@]}"
check x86_64-pc-windows-msvc "${command[@]}"
check wasm32-unknown-unknown -p rvlf --no-default-features
check thumbv7em-none-eabi -p rvlf --no-default-features

((${#skipped[@]} == 0)) || skip "no standard library for ${skipped[*]}"
