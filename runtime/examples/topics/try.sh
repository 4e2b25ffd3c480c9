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

# away NAME USER FILTER: USER subscribes and leaves; its session stays for a week if it may.
away() {
    mosquitto_sub -h 127.0.0.1 -p "$port" -V mqttv5 -u "$2" -P "$2" -i "$1" -c -x 604800 -q 1 -E -t "$3" >>said 2>&1
}

# returns NAME USER FILTER: who was away is there again, and what it receives goes to the file NAME.
returns() {
    stdbuf -oL mosquitto_sub -h 127.0.0.1 -p "$port" -V mqttv5 -u "$2" -P "$2" -i "$1" -c -x 604800 -q 1 -v -t "$3" >"$1.all" 2>&1 &
    pids+=($!)
}

# fill USER TOPIC COUNT: publishes the numbers from 1, all of which are taken.
fill() {
    seq "$3" | mosquitto_pub -h 127.0.0.1 -p "$port" -V mqttv5 -u "$1" -P "$1" -q 1 -t "$2" -l >flood 2>&1
    if grep -q 'failed' flood; then cat flood && exit 1; fi
    echo "$1 publishes $3 messages to $2"
}

# floods USER TOPIC COUNT: publishes so many at once, of which some are too many, and some are not.
floods() {
    local refused
    seq "$3" | mosquitto_pub -h 127.0.0.1 -p "$port" -V mqttv5 -u "$1" -P "$1" -q 1 -t "$2" -l >flood 2>&1 || true
    refused=$(grep -c 'Quota exceeded' flood || true)
    if [ "$refused" -eq 0 ] || [ "$refused" -ge "$3" ]; then
        echo "$1 floods $2: $refused of $3 were refused" && cat flood && exit 1
    fi
    echo "$1 floods $2: refused for its quota"
}

# no_room USER TOPIC: a publication is refused with 0x97.
no_room() {
    mosquitto_pub -h 127.0.0.1 -p "$port" -V mqttv5 -u "$1" -P "$1" -q 1 -t "$2" -m more >refusal 2>&1 || true
    grep -q 'Quota exceeded' refusal || { echo "$1 was not refused at $2" && cat refusal && exit 1; }
    echo "$1 publishes to $2: refused, no room"
}

# may_not_enter USER: one more connection is refused with 0x97.
may_not_enter() {
    mosquitto_pub -h 127.0.0.1 -p "$port" -V mqttv5 -u "$1" -P "$1" -q 1 -t "any/$1" -m x >refusal 2>&1 || true
    grep -q 'Quota exceeded' refusal || { echo "$1 came in once more" && cat refusal && exit 1; }
    echo "$1 comes once more: refused for its quota"
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
