#!/usr/bin/env bash
# Tries one of the topic designs beside this file with the tools of Mosquitto:
#
#   runtime/examples/topics/try.sh notifications          or chat, devices, agents
#
# Starts the broker with the design's settings and rules in a folder of its own, plays the design's
# `scene`, and says what came. Exits with 1 if something came that should not, or did not that should.
# SIGNALHOUSE names the program; without it, target/release/signalhouse.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
design=${1:?say which: notifications, chat, devices or agents}
program=$(realpath "${SIGNALHOUSE:-$here/../../../target/release/signalhouse}")
work=$(mktemp -d)
pids=()
finish() {
    [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
cp "$here/$design"/* "$work"
cd "$work"

# user NAME...: each gets its name as its password, which is good enough for an example.
user() {
    local name
    for name in "$@"; do echo "$name" | "$program" passwd users.txt "$name" >/dev/null; done
}

until_true() {
    local end=$((SECONDS + 20))
    until "$@"; do
        [ "$SECONDS" -le "$end" ] || { echo "waited in vain for: $*" && cat broker.log && exit 1; }
        sleep 0.05
    done
}

# start: the broker, on a free port of loopback.
start() {
    : >broker.log
    "$program" --config broker.toml --listen 127.0.0.1:0 >broker.log 2>&1 &
    pids+=($!)
    until_true grep -q 'signalhouse serves' broker.log
    port=$(grep -m 1 'signalhouse serves' broker.log | grep -oE '127\.0\.0\.1:[0-9]+' | cut -d: -f2)
}

# listen NAME USER FILTER: what USER receives there goes to the file NAME.
listen() {
    stdbuf -oL mosquitto_sub -h 127.0.0.1 -p "$port" -V mqttv5 -u "$2" -P "$2" -i "$1" -q 1 -v -d -t "$3" >"$1.all" 2>&1 &
    pids+=($!)
    until_true grep -qE '^Subscribed' "$1.all"
}

# say USER TOPIC TEXT [OPTION...]: publishes as USER.
say() {
    local who=$1 topic=$2 text=$3
    shift 3
    mosquitto_pub -h 127.0.0.1 -p "$port" -V mqttv5 -u "$who" -P "$who" -q 1 -t "$topic" -m "$text" "$@" >>said 2>&1
}

# hears NAME LINE: it comes.
hears() {
    until_true grep -qxF "$2" "$1.all"
    echo "$1 hears: $2"
}

# hears_not NAME LINE: it has not come; something later has, which `hears` waited for.
hears_not() {
    if grep -qxF "$2" "$1.all"; then
        echo "$1 must not hear: $2"
        exit 1
    fi
    echo "$1 does not hear: $2"
}

# may_not USER ACTION TOPIC: the rules say so, and which.
may_not() {
    if "$program" acl explain --acl rules.txt --user "$1" --action "$2" --topic "$3" >verdict; then
        cat verdict && exit 1
    fi
    cat verdict
}

. ./scene
echo "$design: all as it should be"
