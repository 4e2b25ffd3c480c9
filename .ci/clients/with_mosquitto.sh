#!/usr/bin/env bash
# Exercises a broker with mosquitto_pub, mosquitto_sub and mosquitto_rr:
#
#   with_mosquitto.sh HOST PORT RESULTS [FEATURE...]
#
# Appends one line for each version and feature to RESULTS: outcome, client, version, feature, reason,
# separated by tabs. A subscriber's messages and what `-d` says of its packets go to a file, and a
# wait is for a line in it. That nothing else comes is shown by a last message, which does.
set -uo pipefail

host=$1 port=$2 results=$3
shift 3
wanted=" $* "
wait_s=5
run=$(od -An -N3 -tx1 /dev/urandom | tr -d ' \n')
work=$(mktemp -d)
pids=()
finish() {
    [ ${#pids[@]} -eq 0 ] || kill -9 "${pids[@]}" 2>/dev/null
    pids=()
}
trap 'finish; rm -rf "$work"' EXIT

# wrong REASON: why the cell fails.
wrong() {
    printf '%s' "$*" >"$work/reason"
    return 1
}

# until_true WHAT COMMAND...: waits, bounded, until the command succeeds.
until_true() {
    local what=$1 end=$((SECONDS + wait_s))
    shift
    until "$@"; do
        [ "$SECONDS" -le "$end" ] || { wrong "waited $wait_s s in vain for $what"; return 1; }
        sleep 0.02
    done
}

# has LABEL PATTERN [COUNT]: whether so many lines of the subscriber's file match.
has() { [ "$(grep -c -- "$2" "$work/$1.out")" -ge "${3:-1}" ]; }

id_of() { echo "m$tag$run$1${#feature}${feature:0:5}"; }

# start LABEL OPTION...: a subscriber in the background, under the client identifier of its label.
start() {
    local label=$1
    shift
    : >"$work/$label.out"
    stdbuf -oL mosquitto_sub -d -h "$host" -p "$port" -V "$protocol" -i "$(id_of "$label")" "$@" \
        >"$work/$label.out" 2>&1 &
    started=$!
    disown
    pids+=("$started")
    until_true "SUBACK ($label)" has "$label" '^Subscribed'
}

# pub TOPIC OPTION...: publishes at QoS 1 unless told otherwise; succeeds once the broker has it.
pub() {
    local topic=$1
    shift
    timeout $wait_s mosquitto_pub -h "$host" -p "$port" -V "$protocol" -q 1 -t "$base/$topic" "$@" \
        >"$work/pub.out" 2>&1 || wrong "mosquitto_pub: $(tail -n 1 "$work/pub.out")"
}

# visit LABEL OPTION...: connects, subscribes, and leaves in good order, keeping the session.
visit() {
    local label=$1
    shift
    timeout $wait_s mosquitto_sub -h "$host" -p "$port" -V "$protocol" -i "$(id_of "$label")" -c -E "$@" \
        >"$work/visit.out" 2>&1 || wrong "mosquitto_sub: $(tail -n 1 "$work/visit.out")"
}

# shows LABEL LINE...: waits for exactly these lines of messages, in order.
shows() {
    local label=$1 expected
    shift
    expected=$(printf 'MSG %s\n' "$@")
    until_true "$# messages ($label)" has "$label" '^MSG ' $# || return 1
    local got
    got=$(grep '^MSG ' "$work/$label.out")
    [ "$got" = "$expected" ] || wrong "messages: ${got//$'\n'/, } instead of ${expected//$'\n'/, }"
}

feature_qos() {
    start s -t "$base/a" -q "$1" -F 'MSG %q %p' || return 1
    local number expected=()
    for number in 1 2 3; do
        pub a -m "m$number" -q "$1" || return 1
        expected+=("$1 m$number")
    done
    shows s "${expected[@]}"
}
feature_qos0() { feature_qos 0; }
feature_qos1() { feature_qos 1; }
feature_qos2() { feature_qos 2; }

feature_retained() {
    pub a -r -m kept && start s -t "$base/a" -q 1 -F 'MSG %r %p' && shows s '1 kept' &&
        pub a -r -m live && shows s '1 kept' '0 live' &&
        pub a -r -n && start t -t "$base/a" -q 1 -F 'MSG %r %p' && pub a -m end && shows t '0 end'
}

feature_will() {
    start w -t "$base/a" -q 1 -F 'MSG %p' || return 1
    # On a signal the tool would ask MQTT 5 for its will; leaving after SUBACK it does not.
    visit o -t "$base/x" --will-topic "$base/a" --will-payload 'not this' --will-qos 1 || return 1
    start d -t "$base/x" --will-topic "$base/a" --will-payload gone --will-qos 1 || return 1
    kill -9 "$started"
    shows w gone && pub a -m end && shows w gone end
}

feature_resume() {
    local stays=(-t "$base/a" -q 2)
    [ "$protocol" != mqttv5 ] || stays+=(-x 300)
    visit s "${stays[@]}" || return 1
    pub a -m one && pub a -m two && pub a -m three || return 1
    start s -c "${stays[@]}" -F 'MSG %q %p' && pub a -m end && shows s '1 one' '1 two' '1 three' '1 end'
}

feature_plus() {
    start s -t "$base/+/c" -q 1 -F 'MSG %p' || return 1
    local topic
    for topic in a/c a/d a/b/c b/c end/c; do pub $topic -m $topic || return 1; done
    shows s a/c b/c end/c
}

feature_hash() {
    start s -t "$base/a/#" -q 1 -F 'MSG %p' || return 1
    local topic
    for topic in a a/b b a/b/c; do pub $topic -m $topic || return 1; done
    shows s a a/b a/b/c
}

feature_shared() {
    local label
    for label in s t; do
        start $label -t "\$share/group$run/$base/a" -q 1 -F 'MSG %p' || return 1
    done
    seq 20 | pub a -l || return 1
    all_came() { [ "$(cat "$work"/[st].out | grep -c '^MSG ')" -ge 20 ]; }
    until_true '20 messages' all_came || return 1
    pub a -m 21 || return 1
    last_came() { grep -q '^MSG 21$' "$work"/[st].out; }
    until_true 'the last message' last_came || return 1
    [ "$(cat "$work"/[st].out | grep '^MSG ' | sort -k2n)" = "$(seq 21 | sed 's/^/MSG /')" ] ||
        wrong 'the members together did not get each message once'
}

feature_unsubscribe() {
    local stays=()
    [ "$protocol" != mqttv5 ] || stays=(-x 300)
    visit s -t "$base/a" -t "$base/b" -q 1 "${stays[@]}" || return 1
    start s -c -t "$base/b" -U "$base/a" -q 1 "${stays[@]}" -F 'MSG %p' || return 1
    until_true UNSUBACK has s 'received UNSUBACK' || return 1
    pub a -m unwanted && pub b -m end && shows s end
}

feature_takeover() {
    start x -t "$base/a" || return 1
    mv "$work/x.out" "$work/first.out"
    start x -t "$base/a" || return 1
    if [ "$protocol" = mqttv5 ]; then
        until_true 'DISCONNECT with 0x8E' has first 'Received DISCONNECT (142)'
    else
        # Thrown out, the tool connects again.
        until_true 'the end of the first connection' has first 'sending CONNECT' 2
    fi
}

feature_user-properties() {
    start s -t "$base/a" -q 1 -F 'MSG %P' &&
        pub a -m x -D publish user-property b 1 -D publish user-property a 2 -D publish user-property b 3 &&
        shows s 'b:1 a:2 b:3'
}

feature_message-expiry() {
    visit s -t "$base/a" -q 1 -x 300 || return 1
    pub a -m short -D publish message-expiry-interval 1 || return 1
    pub a -m long -D publish message-expiry-interval 100 || return 1
    sleep 2.2
    start s -c -t "$base/a" -q 1 -x 300 -F 'MSG %p %E' || return 1
    pub a -m end || return 1
    until_true 'two messages' has s '^MSG ' 2 || return 1
    grep '^MSG ' "$work/s.out" | tr '\n' ' ' | grep -qE '^MSG long 9[0-9] MSG end *$' ||
        wrong "messages: $(grep '^MSG ' "$work/s.out" | tr '\n' ' ')"
}

feature_request-response() {
    start b -t "$base/ask" -q 1 -F 'MSG %R %D %p' || return 1
    timeout $wait_s mosquitto_rr -h "$host" -p "$port" -V mqttv5 -q 1 -t "$base/ask" -e "$base/answer" \
        -m 'how?' -D publish correlation-data abc -W $wait_s -F '%D %p' >"$work/rr.out" 2>&1 &
    local asker=$!
    pids+=("$asker")
    shows b "$base/answer abc how?" && pub answer -m so -D publish correlation-data abc || return 1
    wait "$asker"
    [ "$(cat "$work/rr.out")" = 'abc so' ] || wrong "mosquitto_rr printed $(cat "$work/rr.out")"
}

feature_content-type() {
    start s -t "$base/a" -q 1 -F 'MSG %C %F' &&
        pub a -m x -D publish content-type application/json -D publish payload-format-indicator 1 &&
        shows s 'application/json 1'
}

feature_alias-to-broker() {
    start s -t "$base/#" -q 1 -F 'MSG %t %p' || return 1
    pub a -d -m x -D publish topic-alias 1 --repeat 3 || return 1
    shows s "$base/a x" "$base/a x" "$base/a x" || return 1
    [ "$(grep -c "'(null)'" "$work/pub.out")" -eq 2 ] || wrong 'mosquitto_pub did not use the alias'
}

feature_subscription-id() {
    start s -t "$base/a" -q 1 -D subscribe subscription-identifier 268435455 -F 'MSG %S' &&
        pub a -m x && shows s 268435455
}

feature_retain-as-published() {
    start s -t "$base/a" -q 1 -F 'MSG %r %p' && start t -t "$base/a" -q 1 --retain-as-published -F 'MSG %r %p' &&
        pub a -r -m x && shows s '0 x' && shows t '1 x' && pub a -r -n
}

feature_session-expiry() {
    visit s -t "$base/a" -q 1 -x 100 && visit t -t "$base/a" -q 1 -x 1 && visit u -t "$base/a" -q 1 -x 0 || return 1
    sleep 2.2
    pub a -m queued || return 1
    local label
    for label in s t u; do start $label -c -t "$base/a" -q 1 -x 0 -F 'MSG %p' || return 1; done
    pub a -m end && shows s queued end && shows t end && shows u end
}

feature_no-subscribers() {
    pub a -d -m x || return 1
    grep -q 'received PUBACK (Mid: 1, RC:16)' "$work/pub.out" || wrong "$(grep PUBACK "$work/pub.out")"
}

feature_assigned-client-id() {
    pub a -d -m x || return 1
    grep 'sending CONNECT' "$work/pub.out" | grep -q '(null)' || { wrong 'the tool chose an identifier'; return 1; }
    local name
    name=$(sed -n 's/^Client \(.*\) received CONNACK (0)$/\1/p' "$work/pub.out")
    case $name in
    '' | '(null)') wrong 'no identifier was assigned' ;;
    esac
}

feature_maximum-packet-size() {
    local large
    large=$(printf 'y%.0s' $(seq 500))
    start s -t "$base/a" -q 1 -D connect maximum-packet-size 200 -F 'MSG %p' || return 1
    pub a -m small && pub a -m "$large" && pub a -m end && shows s small end
}

feature_will-delay() {
    local will=(--will-topic "$base/a" --will-qos 1 -x 100 -t "$base/x")
    start w -t "$base/a" -q 1 -F 'MSG %p' || return 1
    start b "${will[@]}" --will-payload 'back in time' -D will will-delay-interval 2 || return 1
    kill -9 "$started"
    start g "${will[@]}" --will-payload 'gone for good' -D will will-delay-interval 1 || return 1
    kill -9 "$started"
    start b -c -t "$base/x" -x 100 || return 1
    ! has w '^MSG ' || { wrong 'a will did not wait for its delay'; return 1; }
    shows w 'gone for good' || return 1
    sleep 2
    pub a -m end && shows w 'gone for good' end
}

record() { printf '%s\tmosquitto\t%s\t%s\t%s\n' "$1" "$version" "$feature" "$2" >>"$results"; }

exercise() {
    feature=$1
    base="matrix/$run/mosquitto-$version/$feature"
    [[ $wanted =~ ^\ +$ || $wanted == *" $feature "* ]] || return 0
    : >"$work/reason"
    if "feature_$feature"; then record pass ''; else record fail "$(tr '\t\n' '  ' <"$work/reason")"; fi
    finish
    rm -f "$work"/*.out
}

all='qos0 qos1 qos2 retained will resume plus hash shared unsubscribe takeover'
five='user-properties message-expiry request-response content-type alias-to-broker subscription-id
    retain-as-published session-expiry no-subscribers assigned-client-id maximum-packet-size will-delay'
for pair in 3.1:mqttv31 3.1.1:mqttv311 5:mqttv5; do
    version=${pair%%:*} protocol=${pair##*:} tag=${pair##*v}
    for name in $all; do exercise "$name"; done
done
for name in $five; do exercise "$name"; done

# What the tools cannot show.
absent() {
    feature=$1
    [[ $wanted =~ ^\ +$ || $wanted == *" $feature "* ]] && record none "$2"
}
absent alias-from-broker 'the tools end with a protocol error at an aliased message'
absent no-local 'no tool subscribes and publishes to the same topic, or can set the option'
absent retain-handling 'no option sets it'
absent receive-maximum 'the tools acknowledge at once'
absent response-information 'the tools do not show CONNACK properties'
absent server-keep-alive 'the tools do not show CONNACK properties'
exit 0
