# What the parts of scripts/platforms.sh share. Each begins with
# `source "$(dirname "$0")/common.bash"`, and runs in the root of the repository.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source scripts/retry.bash
export CARGO_INCREMENTAL=0 DEBIAN_FRONTEND=noninteractive
toolchain=$(rustc --version | cut -d ' ' -f 2)

# Ends the part: it could not get what it needs.
skip() {
    echo "SKIPPED: $*"
    exit 77
}

# Installs these packages of Debian, or skips the part.
packages() {
    local package missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    retry apt-get update -qq && retry apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        skip "cannot install ${missing[*]}"
}

# Sets `cargo_std` to the options with which cargo builds for the target $1: none where rustup has its
# standard library, else those that compile it from source. Fails where neither can be had.
std_for() {
    cargo_std=(--target "$1")
    unset RUSTC_BOOTSTRAP
    [[ -d $(rustc --print sysroot)/lib/rustlib/$1/lib ]] && return
    timeout 300 rustup --quiet target add "$1" 2>/dev/null && return
    std_source || return
    export RUSTC_BOOTSTRAP=1
    case $1 in
        *-none-*) cargo_std+=(-Zbuild-std=core) ;;
        *) cargo_std+=(-Zbuild-std=std,panic_abort,panic_unwind,proc_macro,test) ;;
    esac
}

# Lets `cargo check` do without C compilers of its targets: what it checks is never linked.
pretend_to_compile_c() {
    cat >"$1" <<'SCRIPT'
#!/bin/sh
for word; do
    [ "$last" = -o ] && : >"$word"
    # The compiler and the librarian of MSVC.
    case $word in
        -Fo*) : >"${word#-Fo}" ;;
        -out:* | /OUT:*) : >"${word#*:}" ;;
    esac
    last=$word
done
SCRIPT
    chmod +x "$1"
    export TARGET_CC=$1 TARGET_AR=$1
}

# The source of exactly this compiler's standard library: from rustup, else out of Debian's package.
std_source() {
    local library
    library=$(rustc --print sysroot)/lib/rustlib/src/rust/library
    [[ -f $library/Cargo.lock ]] && return
    timeout 300 rustup --quiet component add rust-src 2>/dev/null && return
    debian_std_source "$library"
}

debian_std_source() {
    local library=$1 work mirror suite version
    work=$(mktemp -d)
    mkdir -p "$work"/{lists/partial,cache/archives/partial}
    mirror=$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
    [[ -n $mirror ]] || return
    for suite in trixie-backports forky sid; do
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
    done >"$work/sources.list"
    local apt=(apt-get -qq -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=-
        -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
    "${apt[@]}" update || return
    version=$(apt-cache "${apt[@]:2}" madison rust-src | awk -v prefix="$toolchain+" \
        'index($3, prefix) == 1 && !found { print $3; found = 1 }')
    if [[ -z $version ]]; then
        echo "neither rustup nor Debian has the source of the standard library of $toolchain"
        return 1
    fi
    (cd "$work" && "${apt[@]}" download "rust-src=$version" && dpkg -x rust-src_*.deb unpacked) || return
    mkdir -p "$(dirname "$library")"
    mv "$work/unpacked/usr/src/rustc-$toolchain/library" "$library"
    rm -rf "$work"
}
