#!/usr/bin/env bash
# Makes sure that what the build needs is on this machine. Installs Debian packages where it may; otherwise says in one
# sentence what is missing and how to get it.
#   Scripts/setup.sh packages PYTHON   libraries, data set, compilers, and a Python that can make environments
#   Scripts/setup.sh test-packages     what only the tests need: an emulator of older processors, headers of another, a browser
#   Scripts/setup.sh swift SWIFT       the Swift toolchain
set -euo pipefail

fail() {
    echo "igdm: $*" >&2
    exit 1
}

missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

install_packages() {
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || fail "these Debian packages are missing; run as root: apt-get install $*"
        as_root=(sudo)
    fi
    echo "Installing Debian packages: $*"
    { "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } ||
        fail "these Debian packages could not be installed; run as root: apt-get install $*"
}

setup_packages() {
    local python=$1 missing
    local packages=(libopenblas-dev libhdf5-dev zlib1g-dev libjansson-dev dataset-fashion-mnist pkg-config gcc g++ libc6-dev)
    command -v "$python" >/dev/null ||
        fail "$python was not found: install Python 3.10 or newer (Debian: apt-get install python3 python3-venv)."
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$python is $("$python" --version): use Python 3.10 or newer, for example with make PYTHON=python3.11."
    "$python" -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)

    if ! command -v dpkg-query >/dev/null; then
        pkg-config --exists openblas hdf5 zlib jansson ||
            fail "this is not Debian: install OpenBLAS, HDF5, zlib and Jansson with their headers and pkg-config files."
        return
    fi
    missing=$(missing_packages "${packages[@]}")
    # shellcheck disable=SC2086  # package names have no spaces
    [ -z "$missing" ] || install_packages $missing
}

setup_test_packages() {
    local missing
    if ! command -v dpkg-query >/dev/null; then
        command -v qemu-x86_64 >/dev/null || fail "this is not Debian: install QEMU's user-mode emulation (qemu-x86_64)."
        return
    fi
    missing=$(missing_packages qemu-user binutils libc6-dev-arm64-cross chromium)
    # shellcheck disable=SC2086  # package names have no spaces
    [ -z "$missing" ] || install_packages $missing
}

setup_swift() {
    local swift=$1 version
    command -v "$swift" >/dev/null ||
        fail "$swift was not found: install a Swift 6.3 toolchain (https://www.swift.org/install/linux) and put it on PATH."
    version=$("$swift" --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\)\.\([0-9]*\).*/\1 \2/p' | head -n 1)
    # shellcheck disable=SC2086  # two numbers
    set -- ${version:-0 0}
    [ $(($1 * 100 + $2)) -ge 603 ] || fail "$swift is version $1.$2: install a Swift 6.3 toolchain or newer."
}

case ${1-} in
packages) setup_packages "${2:-python3}" ;;
test-packages) setup_test_packages ;;
swift) setup_swift "${2:-swift}" ;;
*) fail "usage: Scripts/setup.sh packages [PYTHON] | test-packages | swift [SWIFT]" ;;
esac
