#!/usr/bin/env bash
# Makes .venv with the kit installed in place. Usage: setup.sh [EXTRAS], e.g. "setup.sh test".
# Runs on a bare Debian 12: installs python3-venv through apt when it is missing, and for the extra "test" the C++
# compiler, make and perl that Verilator calls, Icarus Verilog, Tcl, and compilers and an emulator for ARM. Repeated calls are quick: Python packages are installed again only
# when pyproject.toml changed.
set -euo pipefail
cd "$(dirname "$0")/.."
extras="${1:-}"

usable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    for candidate in python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && usable "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

apt() {
    if [ "$(id -u)" = 0 ]; then apt-get "$@"; else sudo apt-get "$@"; fi
}

# What the tests call beside Python: TOOL:PACKAGES-OF-DEBIAN.
test_tools="
    g++:g++ make:make perl:perl
    iverilog:iverilog tclsh:tcl
    qemu-aarch64:qemu-user
    aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu,libc6-dev-arm64-cross
    arm-linux-gnueabihf-gcc:gcc-arm-linux-gnueabihf,libc6-dev-armhf-cross
"
if [ "$extras" = test ]; then
    missing=""
    for pair in $test_tools; do
        command -v "${pair%%:*}" >/dev/null || missing="$missing $(echo "${pair#*:}" | tr ',' ' ')"
    done
    [ -e /usr/include/zlib.h ] || missing="$missing zlib1g-dev"
    [ -e /usr/include/lz4.h ] || missing="$missing liblz4-dev"
    if [ -n "$missing" ]; then
        if ! command -v apt-get >/dev/null; then
            echo "error: the tests need these packages of Debian, or what they hold:$missing" >&2
            exit 1
        fi
        echo "Installing$missing with apt" >&2
        apt update -qq
        # shellcheck disable=SC2086  # one word a package
        DEBIAN_FRONTEND=noninteractive apt install -y -qq --no-install-recommends $missing >&2
    fi
fi

if [ ! -x .venv/bin/python ]; then
    if ! python=$(find_python); then
        if ! command -v apt-get >/dev/null; then
            echo "error: Python 3.11 or newer with the venv module is needed" >&2
            exit 1
        fi
        echo "Installing Python and its venv module with apt" >&2
        apt update -qq
        apt install -y -qq --no-install-recommends python3 python3-venv >&2
        python=$(find_python) || { echo "error: no Python 3.11 or newer found" >&2; exit 1; }
    fi
    "$python" -m venv .venv
fi

stamp=".venv/.installed${extras:+-$extras}"
wanted=$(sha256sum pyproject.toml)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".${extras:+[$extras]}" >&2
    printf '%s\n' "$wanted" >"$stamp"
fi
