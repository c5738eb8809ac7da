# Shared by scripts/devnet and scripts/test; sourced, never run.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
RUST_VERSION_MIN=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$ROOT/Cargo.toml")
CLANG_VERSION_MIN=14

# Out of the checkout, so that every checkout of one user shares one compiled RocksDB.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-${HOME:-$ROOT}/.cache}/jar/target}

say() { printf '==> %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# version_at_least 1.95.0 1.95
version_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# --- Rust -------------------------------------------------------------------

rust_help() {
    cat >&2 <<MSG
Get Rust $RUST_VERSION_MIN or newer in one of these ways, then run this script again:

  rustup, as https://rustup.rs says      # any Linux
  rustup update stable                   # if rustup is there
  apt-get install rustc-web cargo-web    # Debian 12, to run a node only

rustup has what the tests and lints need as well.
MSG
}

need_rust() {
    # rustup's folder is on the PATH of login shells only. It goes first: the guests' toolchain
    # brings another cargo, without lints.
    local rustup_bin=${CARGO_HOME:-${HOME:-}/.cargo}/bin
    if [ -x "$rustup_bin/cargo" ] && [[ ":$PATH:" != *":$rustup_bin:"* ]]; then
        PATH="$rustup_bin:$PATH"
    fi
    if ! has cargo || ! has rustc; then
        printf 'error: no Rust toolchain: cargo and rustc are not on the PATH\n' >&2
        rust_help
        exit 1
    fi
    local version
    version=$(cd "$ROOT" && rustc --version | awk '{print $2}') || true
    if [ -z "$version" ]; then
        printf 'error: rustc does not run\n' >&2
        rust_help
        exit 1
    fi
    if ! version_at_least "${version%%-*}" "$RUST_VERSION_MIN"; then
        printf 'error: rustc %s is too old, %s is needed\n' "$version" "$RUST_VERSION_MIN" >&2
        rust_help
        exit 1
    fi
    say "rustc $version; building into $CARGO_TARGET_DIR"
}

# need_rust_component rustfmt 'cargo fmt --version'
need_rust_component() {
    (cd "$ROOT" && $2 >/dev/null 2>&1) && return
    if has rustup; then
        say "adding $1 to the Rust toolchain"
        (cd "$ROOT" && rustup component add "$1") && return
    fi
    die "$1 is missing: run 'rustup component add $1' (Debian's rustc has no $1; use rustup's)"
}

# --- Debian packages --------------------------------------------------------

MISSING_PACKAGES=()
APT_UPDATED=

package_installed() {
    has dpkg-query && [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_install() {
    has apt-get && { [ "$(id -u)" = 0 ] || { has sudo && sudo -n true 2>/dev/null; }; }
}

apt_update_once() {
    [ -z "$APT_UPDATED" ] || return 0
    say "apt-get update"
    # One broken third-party source must not stop what the others can give.
    as_root apt-get -o DPkg::Lock::Timeout=120 update -qq || warn "apt-get update had errors"
    APT_UPDATED=1
}

# Installs MISSING_PACKAGES, or says exactly what to install and exits.
ensure_packages() {
    [ ${#MISSING_PACKAGES[@]} -gt 0 ] || return 0
    local list="${MISSING_PACKAGES[*]}"
    if ! can_install; then
        {
            printf 'error: these Debian packages are missing: %s\n' "$list"
            printf 'and they cannot be installed from here (that takes apt-get, and root or a sudo that asks nothing). Run\n\n'
            printf '  apt-get update && apt-get install --no-install-recommends %s\n\n' "$list"
            printf 'as root (on another system: its own packages of the same software), then run this script again.\n'
        } >&2
        exit 1
    fi
    apt_update_once
    say "installing $list"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 \
        install -y --no-install-recommends "${MISSING_PACKAGES[@]}" </dev/null \
        || die "apt-get could not install: $list"
    MISSING_PACKAGES=()
}

# --- What RocksDB needs: a C++ compiler, libclang for its bindings ----------

libclang_files() {
    local dir
    for dir in ${LIBCLANG_PATH:+"$LIBCLANG_PATH"} /usr/lib/llvm-*/lib /usr/lib/*-linux-gnu \
        /usr/lib64 /usr/lib /usr/local/lib; do
        find "$dir/" -maxdepth 1 \( -name 'libclang.so*' -o -name 'libclang-[0-9]*.so*' \) 2>/dev/null
    done
}

# The highest major version of libclang on this machine; nothing if there is none new enough.
libclang_version() {
    libclang_files | while read -r file; do
        [ -e "$file" ] || continue
        basename "$(readlink -f "$file")"
    done | sed -n 's/^libclang[-.][^0-9]*\([0-9][0-9]*\).*/\1/p' | sort -n | tail -n 1 \
        | awk -v min="$CLANG_VERSION_MIN" '$1 >= min'
}

# clang's own headers (stddef.h and friends) of that version.
clang_headers() {
    local dir
    for dir in "/usr/lib/llvm-$1/lib/clang" /usr/lib64/clang /usr/lib/clang /usr/local/lib/clang; do
        find -L "$dir" -maxdepth 3 -path "*/$1*/include/stddef.h" 2>/dev/null
    done | head -n 1
}

# The first libclang this distribution has; 19 shares its LLVM with the guests' linker.
pick_clang_version() {
    local version
    for version in 19 20 21 18 17 16 15 14; do
        if [ -n "$(apt-cache show "libclang1-$version" 2>/dev/null)" ]; then
            echo "$version"
            return
        fi
    done
    echo 19
}

# Adds to MISSING_PACKAGES what compiling RocksDB still needs.
need_rocksdb_tools() {
    has c++ && has cc || MISSING_PACKAGES+=(g++)
    if [ -n "$(libclang_version)" ]; then return; fi
    if can_install; then apt_update_once; fi
    local version
    version=$(pick_clang_version)
    MISSING_PACKAGES+=("libclang1-$version" "libclang-common-$version-dev")
}

# Called when the packages are there. The same environment for every script: a change of it
# would compile RocksDB again.
set_rocksdb_env() {
    local version include
    version=$(libclang_version)
    [ -n "$version" ] || die "libclang $CLANG_VERSION_MIN or newer is not found; set LIBCLANG_PATH to its folder"
    [ -z "$(clang_headers "$version")" ] || return 0
    [ -z "${BINDGEN_EXTRA_CLANG_ARGS:-}" ] || return 0
    # libclang without clang's headers: the C compiler's serve as well.
    include=$(cc -print-file-name=include 2>/dev/null) || true
    [ -f "$include/stddef.h" ] \
        || die "libclang $version has no headers: install libclang-common-$version-dev"
    export BINDGEN_EXTRA_CLANG_ARGS="-I$include"
}

# --- What guests need: a Rust with the core library's source, and lld -------

GUEST_PACKAGES=(rustc-web cargo-web rust-web-src lld-19)

need_guest_toolchain() {
    local package
    for package in "${GUEST_PACKAGES[@]}"; do
        package_installed "$package" || MISSING_PACKAGES+=("$package")
    done
}

# The architecture tests of the transpiler are assembled, and run by QEMU for comparison.
need_riscv_tools() {
    has riscv64-unknown-elf-as || has riscv64-linux-gnu-as || MISSING_PACKAGES+=(binutils-riscv64-unknown-elf)
    has qemu-riscv64 || MISSING_PACKAGES+=(qemu-user)
}

# scripts/verify_proof.py is compared with the node's own proofs.
need_python() {
    has python3 || MISSING_PACKAGES+=(python3)
}

# --- Running ----------------------------------------------------------------

# with_heartbeat cargo build ...: where there is no terminal for cargo's progress bar, one line a minute.
with_heartbeat() {
    if [ -t 2 ]; then
        "$@"
        return
    fi
    local from=$SECONDS pid rc=0
    (
        trap 'kill "$nap" 2>/dev/null; exit 0' TERM
        while :; do
            sleep 60 &
            nap=$!
            wait "$nap"
            kill -0 $$ 2>/dev/null || exit 0
            printf '    ... %s, %d min so far\n' "$1 $2" $(((SECONDS - from) / 60))
        done
    ) &
    pid=$!
    "$@" || rc=$?
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    return $rc
}

rocksdb_is_built() {
    compgen -G "$CARGO_TARGET_DIR/release/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null
}

announce_build() {
    rocksdb_is_built && return
    say "the first build compiles RocksDB from source: about 15 minutes of CPU time ($(nproc) cores here)"
}
