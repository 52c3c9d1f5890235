#!/bin/sh
# Install what MetaOS needs: programs by apt-get where they are missing, and .venv/.
# Says nothing of what is already there.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
required=""
useful=""

fail() {
    echo "setup: $*" >&2
    exit 5
}
there() { "$@" >/dev/null 2>&1; }

there command -v qemu-system-x86_64 || required="$required qemu-system-x86"
there command -v nasm || required="$required nasm"
there command -v "$PYTHON" || required="$required python3"
there "$PYTHON" -c "import ensurepip, venv" || required="$required python3-venv"
there command -v nc || useful="$useful netcat-openbsd"
there command -v cc || useful="$useful gcc libc6-dev"
there command -v gdb || useful="$useful gdb-minimal"
[ -e /usr/share/misc/pci.ids ] || [ -e /usr/share/hwdata/pci.ids ] || useful="$useful pci.ids"

if [ -n "$required$useful" ]; then
    line="apt-get install -y --no-install-recommends$required$useful"
    root=""
    [ "$(id -u)" -eq 0 ] || root="sudo"
    if there command -v apt-get && { [ -z "$root" ] || there command -v sudo; }; then
        echo "setup: ${root:+$root }$line" >&2
        $root apt-get update -qq || echo "setup: apt-get update failed; trying all the same" >&2
        # shellcheck disable=SC2086 # words of the command
        $root env DEBIAN_FRONTEND=noninteractive $line >/dev/null || {
            [ -z "$required" ] || fail "apt-get could not install:$required"
            echo "setup: going on without:$useful" >&2
        }
    else
        [ -z "$required" ] || fail "please install, as root:$required$useful"
        echo "setup: going on without:$useful" >&2
    fi
fi

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$PYTHON is $("$PYTHON" -V), MetaOS needs Python 3.11: make setup PYTHON=python3.12"

# An environment that was moved or half made is made anew.
there .venv/bin/pip --version || rm -rf .venv
[ .venv/.ready -nt pyproject.toml ] && exit 0
[ -x .venv/bin/pip ] || "$PYTHON" -m venv .venv
echo "setup: Python packages into .venv/" >&2
.venv/bin/pip install -q --disable-pip-version-check -e '.[dev]'
touch .venv/.ready
