#!/bin/sh
# Install what MetaOS needs: programs by apt-get where they are missing, and .venv/.
# Says nothing of what is already there.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}

fail() {
    echo "setup: $*" >&2
    exit 5
}

missing=""
want() { # want PACKAGE TEST...: note the Debian package if the test fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
want qemu-system-x86 command -v qemu-system-x86_64
want nasm command -v nasm
want netcat-openbsd command -v nc
want pci.ids test -e /usr/share/misc/pci.ids -o -e /usr/share/hwdata/pci.ids
want gcc command -v cc

command -v "$PYTHON" >/dev/null || missing="$missing python3"
"$PYTHON" -c "import ensurepip, venv" >/dev/null 2>&1 || missing="$missing python3-venv"

if [ -n "$missing" ]; then
    line="apt-get install -y --no-install-recommends$missing"
    command -v apt-get >/dev/null || fail "no apt-get here; please install:$missing"
    if [ "$(id -u)" -eq 0 ]; then
        sudo=""
    elif command -v sudo >/dev/null; then
        sudo="sudo"
    else
        fail "as root, please run: $line"
    fi
    echo "setup: $sudo $line" >&2
    $sudo apt-get update -qq || echo "setup: apt-get update failed, trying all the same" >&2
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $sudo $line >/dev/null || fail "apt-get could not install:$missing"
fi

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$PYTHON is $("$PYTHON" -V), MetaOS needs Python 3.11 (make PYTHON=python3.12 setup)"

# A folder that was moved or half made is made anew.
.venv/bin/python -c "import sys" >/dev/null 2>&1 || rm -rf .venv
[ -x .venv/bin/pip ] || "$PYTHON" -m venv .venv
echo "setup: Python packages into .venv/" >&2
.venv/bin/pip install -q --disable-pip-version-check -e '.[dev]'
