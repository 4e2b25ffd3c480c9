#!/usr/bin/env bash
# with_mosquitto.sh PORT TLS_PORT CA: mosquitto_pub and mosquitto_sub where passwords and rules are
# Mosquitto's own files. Exits with 1 at the first thing that is not as Mosquitto has it.
set -euo pipefail
port=$1 tls=$2 ca=$3
work=$(mktemp -d)
pids=()
trap '[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null; rm -rf "$work"' EXIT

fail() { echo "failed: $*" && exit 1; }
pub() { timeout 10 mosquitto_pub -h localhost -p "$port" -V mqttv5 -q 1 "$@" 2>&1; }

pub -u roger -P roger -t foo/bar -m x >/dev/null || fail "a right password"
! pub -u roger -P wrong -t foo/bar -m x >/dev/null || fail "a wrong password"
! pub -u nobody -P roger -t foo/bar -m x >/dev/null || fail "an unknown user"
! pub -t foo/bar -m x >/dev/null || fail "no user"

# Subscribing is free there; what comes is not.
stdbuf -oL mosquitto_sub -h localhost -p "$tls" --cafile "$ca" -V mqttv5 -u roger -P roger -q 1 -v -d -t '#' >"$work/roger" 2>&1 &
pids+=($!)
stdbuf -oL mosquitto_sub -h localhost -p "$port" -V mqttv311 -u ann -P ann -q 1 -v -d -t 'mail/#' >"$work/ann" 2>&1 &
pids+=($!)
wait_for() {
    local end=$((SECONDS + 20))
    until grep -qx -- "$2" "$work/$1"; do
        [ "$SECONDS" -le "$end" ] || { cat "$work/$1" && fail "$1 waited in vain for $2"; }
        sleep 0.05
    done
}
wait_for roger 'Subscribed (mid: 1): 1'
wait_for ann 'Subscribed (mid: 1): 1'
pub -u ann -P ann -t mail/ann/1 -m 'to myself' >/dev/null
pub -u ann -P ann -t foo/bar -m 'not allowed' >/dev/null || true
# Denied, though roger may read foo/#: it is refused there, and comes to nobody by an allowed way.
pub -u roger -P roger -t foo/secret -m 'a secret' >/dev/null || true
pub -u ann -P ann -t foo/secret -m 'a secret' >/dev/null || true
pub -u web -P web -t foo/secret -m 'kept secret' >/dev/null || fail "web may write to foo/secret"
pub -u roger -P roger -t foo/bar -m 'to foo' >/dev/null
wait_for roger 'foo/bar to foo'
wait_for ann 'mail/ann/1 to myself'
! grep -qE 'not allowed|to myself|secret' "$work/roger" || fail "roger heard what he must not"
echo "  passwords, users, topics and patterns hold"
