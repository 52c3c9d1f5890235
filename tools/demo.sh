#!/bin/sh
# A machine is probed, its drivers are generated, the image boots and answers. Every command
# is shown before it runs. Ends QEMU in any case.
set -eu
cd "$(dirname "$0")/.."
PORT=${PORT:-7007}
HERE=build/demo
guest=""

end() {
    [ -z "$guest" ] || kill -TERM "$guest" 2>/dev/null || true
    [ -z "$guest" ] || wait "$guest" 2>/dev/null || true
    guest=""
}
trap end EXIT
trap 'exit 130' INT TERM

say() { printf '\n== %s\n' "$*"; }
run() {
    printf '$ %s\n' "$*"
    "$@"
}

mkdir -p "$HERE"
say "probe: a small boot image runs on the machine and prints all it can find out"
run metaos probe qemu -o "$HERE/machine.json"
run metaos show "$HERE/machine.json"

say "match: each device has a rule in patterns/"
run metaos match "$HERE/machine.json"

say "build: the rules and the facts become straight-line machine code, and an image"
run metaos build --machine "$HERE/machine.json" -o "$HERE/demo.img"

say "audit: the laws are proved again on the file's bytes"
run metaos audit "$HERE/demo.img" >"$HERE/audit.txt" || {
    cat "$HERE/audit.txt"
    exit 4
}
tail -n 1 "$HERE/audit.txt"

say "run: the image boots; a person at a shell talks to it"
printf '$ metaos run %s -p %s:7/udp &\n' "$HERE/demo.img" "$PORT"
metaos run "$HERE/demo.img" -p "$PORT:7/udp" >"$HERE/console.txt" 2>"$HERE/run.txt" &
guest=$!
line="nc -u -w1 127.0.0.1 $PORT"
command -v nc >/dev/null || line="python tools/say.py $PORT"
printf '$ echo hi | %s\n' "$line"
answer=""
tries=0
while [ -z "$answer" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ] || ! kill -0 "$guest" 2>/dev/null; then
        cat "$HERE/run.txt" "$HERE/console.txt" >&2
        echo "demo: the machine did not answer" >&2
        exit 1
    fi
    answer=$(echo hi | $line || true)
    [ -n "$answer" ] || sleep 0.2 # nothing listens yet: nc gives up at once
done
printf '%s\n' "$answer"
[ "$answer" = hi ] || exit 1
echo "and its console said:"
tr -d '\r' <"$HERE/console.txt" | grep MetaOS | sed 's/^/  /'
end

say "test: every example of every service's pattern is asked, right and malformed"
run metaos test --quiet "$HERE/demo.img"
