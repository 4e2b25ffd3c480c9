"""Exercises a broker with paho-mqtt: `with_paho.py HOST PORT RESULTS [FEATURE...]`.

Appends one line for each version and feature to RESULTS: outcome, client, version, feature, reason,
separated by tabs. One thread runs all clients, so a wait is always for a condition.
"""

import socket
import sys
import time
import uuid

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}
WAIT_S = 5.0
RUN = uuid.uuid4().hex[:6]


class Wrong(Exception):
    """What the broker did is not what the feature means."""


def expect(actual, expected, what):
    if actual != expected:
        raise Wrong(f"{what}: {actual!r} instead of {expected!r}")


def properties(packet_type, values):
    """paho's property object, or None if there is nothing to say."""
    if not values:
        return None
    made = Properties(packet_type)
    for name, value in values.items():
        setattr(made, name, value)
    return made


class World:
    """The clients of one feature."""

    def __init__(self, address, version, feature):
        self.address, self.version, self.feature = address, version, feature
        self.v5 = version == "5"
        self.peers = []
        self.base = f"matrix/{RUN}/paho-{version}/{feature}"

    def name(self, label):
        """A client identifier that fits into the 23 characters of MQTT 3.1."""
        return f"p{self.version.replace('.', '')}{RUN}{label}{len(self.feature)}{self.feature[:5]}"[:23]

    def connect(self, label, **options):
        peer = Peer(self, self.name(label) if label else "", **options)
        self.peers.append(peer)
        peer.connect()
        return peer

    def session(self):
        """The option of a session that stays."""
        return {"clean": False, "SessionExpiryInterval": 300} if self.v5 else {"clean": False}

    def until(self, condition, what, wait_s=WAIT_S):
        end = time.monotonic() + wait_s
        while not condition():
            if time.monotonic() > end:
                raise Wrong(f"waited {wait_s:.0f} s in vain for {what}")
            self.turn()

    def turn(self):
        for peer in self.peers:
            if peer.alive:
                peer.client.loop(timeout=0.005)

    def let_pass(self, seconds):
        """For what is about time itself: the clients stay served meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()

    def close(self):
        for peer in self.peers:
            if peer.alive:
                peer.leave()


class Peer:
    """One client and what it saw."""

    def __init__(self, world, client_id, clean=True, will=None, manual_ack=False, keepalive=60, **connect):
        self.world, self.clean, self.keepalive = world, clean, keepalive
        self.messages, self.acks, self.subacks, self.unsubacks = [], {}, {}, set()
        self.connack, self.end, self.alive, self.settled = None, None, True, 0
        self.connect_properties = properties(PacketTypes.CONNECT, connect)
        clean_session = None if world.v5 else clean
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=clean_session,
            protocol=VERSIONS[world.version],
            reconnect_on_failure=False,
            manual_ack=manual_ack,
        )
        if will:
            topic, payload, will_properties = will
            made = properties(PacketTypes.WILLMESSAGE, will_properties)
            self.client.will_set(topic, payload, qos=1, properties=made)
        self.client.on_connect = self.on_connect
        self.client.on_message = lambda _c, _u, message: self.messages.append(message)
        self.client.on_publish = lambda _c, _u, mid, code, _p: self.acks.update({mid: code.value})
        self.client.on_subscribe = lambda _c, _u, mid, codes, _p: self.subacks.update({mid: codes})
        self.client.on_unsubscribe = lambda _c, _u, mid, _r, _p: self.unsubacks.add(mid)
        self.client.on_disconnect = self.on_disconnect

    def on_connect(self, _client, _data, flags, code, props):
        self.connack = (flags.session_present, code, props)

    def on_disconnect(self, _client, _data, flags, code, _props):
        # A DISCONNECT is followed by the end of the connection, which is reported too.
        self.end = self.end or (flags.is_disconnect_packet_from_server, code.value)

    def connect(self):
        host, port = self.world.address
        if self.world.v5:
            self.client.connect(
                host, port, self.keepalive, clean_start=self.clean, properties=self.connect_properties
            )
        else:
            self.client.connect(host, port, self.keepalive)
        self.world.until(lambda: self.connack or self.end, "CONNACK")
        if not self.connack or self.connack[1].is_failure:
            raise Wrong(f"not accepted: {self.connack or self.end}")

    @property
    def session_present(self):
        return self.connack[0]

    @property
    def connack_properties(self):
        return self.connack[2]

    def subscribe(self, topic, qos=0, identifier=None, **options):
        if self.world.v5:
            made = properties(PacketTypes.SUBSCRIBE, {"SubscriptionIdentifier": identifier} if identifier else {})
            _, mid = self.client.subscribe(topic, options=SubscribeOptions(qos=qos, **options), properties=made)
        else:
            _, mid = self.client.subscribe(topic, qos)
        self.world.until(lambda: mid in self.subacks, f"SUBACK for {topic}")
        codes = [code.value for code in self.subacks[mid]]
        expect(codes, [qos], f"SUBACK for {topic}")

    def unsubscribe(self, topic):
        _, mid = self.client.unsubscribe(topic)
        self.world.until(lambda: mid in self.unsubacks, f"UNSUBACK for {topic}")

    def publish(self, topic, payload, qos=1, retain=False, **values):
        """Publishes and waits until the broker has it; returns the acknowledgement's reason code."""
        made = properties(PacketTypes.PUBLISH, values)
        info = self.client.publish(topic, payload, qos=qos, retain=retain, properties=made)
        self.world.until(lambda: info.mid in self.acks, f"the acknowledgement of {payload!r}")
        if qos == 0:
            self.settle()
        return self.acks[info.mid]

    def settle(self):
        """A round trip: what the broker sent before has arrived when it returns."""
        self.settled += 1
        self.subscribe(f"{self.world.base}/settle/{self.settled}")

    def receives(self, *payloads):
        """Waits for these payloads, in order, and for nothing else."""
        expected = [payload.encode() for payload in payloads]
        self.world.until(lambda: len(self.messages) >= len(expected), f"{len(expected)} messages: {payloads}")
        self.settle()
        expect([message.payload for message in self.messages], expected, "messages")
        taken, self.messages = self.messages, []
        return taken

    def kill(self):
        """Ends the connection without DISCONNECT."""
        self.alive = False
        self.client.socket().shutdown(socket.SHUT_RDWR)

    def leave(self, **values):
        """Disconnects in good order and waits until the socket is gone."""
        made = properties(PacketTypes.DISCONNECT, values)
        self.client.disconnect(properties=made) if self.world.v5 else self.client.disconnect()
        self.world.until(lambda: self.client.socket() is None, "the end of the connection")
        self.alive = False


def qos(level):
    def run(world):
        subscriber, publisher = world.connect("s"), world.connect("p")
        subscriber.subscribe(f"{world.base}/a", level)
        payloads = [f"m{number}" for number in range(10)]
        for payload in payloads:
            publisher.publish(f"{world.base}/a", payload, level)
        messages = subscriber.receives(*payloads)
        expect({message.qos for message in messages}, {level}, "QoS of the deliveries")

    return run


def retained(world):
    topic = f"{world.base}/a"
    publisher = world.connect("p")
    publisher.publish(topic, "kept", retain=True)
    first = world.connect("s")
    first.subscribe(topic, 1)
    expect([message.retain for message in first.receives("kept")], [True], "RETAIN")
    publisher.publish(topic, "live", retain=True)
    expect([message.retain for message in first.receives("live")], [False], "RETAIN of a live message")
    publisher.publish(topic, "", retain=True)
    second = world.connect("t")
    second.subscribe(topic, 1)
    second.receives()


def will(world):
    topic = f"{world.base}/a"
    watcher = world.connect("w")
    watcher.subscribe(topic, 1)
    orderly = world.connect("o", will=(topic, "not this", None))
    orderly.leave()
    world.connect("d", will=(topic, "gone", None)).kill()
    watcher.receives("gone")


def resume(world):
    topic = f"{world.base}/a"
    sleeper = world.connect("s", **world.session())
    sleeper.subscribe(topic, 2)
    sleeper.leave()
    publisher = world.connect("p")
    # Order holds within one QoS; the handshakes of QoS 1 and 2 may overtake each other.
    for level, payload in [(1, "one"), (2, "two"), (1, "three"), (2, "four")]:
        publisher.publish(topic, payload, level)
    awake = world.connect("s", **world.session())
    if world.version != "3.1":
        expect(awake.session_present, True, "session present")
    world.until(lambda: len(awake.messages) >= 4, "four messages")
    awake.messages.sort(key=lambda message: message.qos)
    awake.receives("one", "three", "two", "four")


def plus(world):
    subscriber, publisher = world.connect("s"), world.connect("p")
    subscriber.subscribe(f"{world.base}/+/c", 1)
    for topic in ["a/c", "a/d", "a/b/c", "b/c"]:
        publisher.publish(f"{world.base}/{topic}", topic)
    subscriber.receives("a/c", "b/c")


def hash_sign(world):
    subscriber, publisher = world.connect("s"), world.connect("p")
    subscriber.subscribe(f"{world.base}/a/#", 1)
    for topic in ["a", "a/b", "b", "a/b/c"]:
        publisher.publish(f"{world.base}/{topic}", topic)
    subscriber.receives("a", "a/b", "a/b/c")


def shared(world):
    members = [world.connect("s"), world.connect("t")]
    for member in members:
        member.subscribe(f"$share/group{RUN}/{world.base}/a", 1)
    publisher = world.connect("p")
    payloads = [f"m{number}" for number in range(20)]
    for payload in payloads:
        publisher.publish(f"{world.base}/a", payload)
    world.until(lambda: sum(len(member.messages) for member in members) >= 20, "20 messages")
    for member in members:
        member.settle()
    seen = sorted(message.payload.decode() for member in members for message in member.messages)
    expect(seen, sorted(payloads), "messages of both members together")


def unsubscribe(world):
    subscriber, publisher = world.connect("s"), world.connect("p")
    subscriber.subscribe(f"{world.base}/a", 1)
    publisher.publish(f"{world.base}/a", "before")
    subscriber.receives("before")
    subscriber.unsubscribe(f"{world.base}/a")
    publisher.publish(f"{world.base}/a", "after")
    subscriber.receives()


def takeover(world):
    first = world.connect("x")
    world.connect("x")
    world.until(lambda: first.end, "the end of the first connection")
    first.alive = False
    if world.v5:
        expect(first.end, (True, 0x8E), "(from the server, reason code)")


def user_properties(world):
    subscriber, publisher = world.connect("s"), world.connect("p")
    subscriber.subscribe(f"{world.base}/a", 1)
    pairs = [("b", "1"), ("a", "2"), ("b", "3"), ("", "é")]
    publisher.publish(f"{world.base}/a", "x", UserProperty=pairs)
    expect(subscriber.receives("x")[0].properties.UserProperty, pairs, "user properties")


def message_expiry(world):
    topic = f"{world.base}/a"
    world.connect("s", **world.session()).subscribe(topic, 1)
    world.peers[0].leave()
    publisher = world.connect("p")
    publisher.publish(topic, "short", MessageExpiryInterval=1)
    publisher.publish(topic, "long", MessageExpiryInterval=100)
    publisher.publish(topic, "endless")
    world.let_pass(2.2)
    messages = world.connect("s", **world.session()).receives("long", "endless")
    left = messages[0].properties.MessageExpiryInterval
    if not 90 <= left < 100:
        raise Wrong(f"{left} s left of 100 after 2")
    expect(hasattr(messages[1].properties, "MessageExpiryInterval"), False, "expiry where none was set")


def request_response(world):
    asker, answerer = world.connect("a"), world.connect("b")
    answerer.subscribe(f"{world.base}/ask", 1)
    asker.subscribe(f"{world.base}/answer", 1)
    correlation = bytes([0, 255, 7])
    asker.publish(
        f"{world.base}/ask", "how?", ResponseTopic=f"{world.base}/answer", CorrelationData=correlation
    )
    question = answerer.receives("how?")[0].properties
    answerer.publish(question.ResponseTopic, "so", CorrelationData=question.CorrelationData)
    expect(asker.receives("so")[0].properties.CorrelationData, correlation, "correlation data")


def content_type(world):
    subscriber, publisher = world.connect("s"), world.connect("p")
    subscriber.subscribe(f"{world.base}/a", 1)
    publisher.publish(f"{world.base}/a", "{}", ContentType="application/json", PayloadFormatIndicator=1)
    got = subscriber.receives("{}")[0].properties
    expect((got.ContentType, got.PayloadFormatIndicator), ("application/json", 1), "properties")


def alias_to_broker(world):
    subscriber, publisher = world.connect("s"), world.connect("p")
    subscriber.subscribe(f"{world.base}/#", 1)
    expect(getattr(publisher.connack_properties, "TopicAliasMaximum", 0) > 0, True, "a topic alias is allowed")
    publisher.publish(f"{world.base}/a", "one", TopicAlias=1)
    publisher.publish("", "two", TopicAlias=1)
    publisher.publish(f"{world.base}/b", "three", TopicAlias=1)
    publisher.publish("", "four", TopicAlias=1)
    topics = [message.topic[-1] for message in subscriber.receives("one", "two", "three", "four")]
    expect(topics, ["a", "a", "b", "b"], "topics")


def alias_from_broker(world):
    subscriber, publisher = world.connect("s", TopicAliasMaximum=5), world.connect("p")
    subscriber.subscribe(f"{world.base}/a", 1)
    payloads = [f"m{number}" for number in range(5)]
    for payload in payloads:
        publisher.publish(f"{world.base}/a", payload)
    aliases, aliased = {}, 0
    for message in subscriber.receives(*payloads):
        alias = getattr(message.properties, "TopicAlias", None)
        if message.topic:
            aliases[alias] = message.topic
        aliased += not message.topic
        expect(message.topic or aliases.get(alias), f"{world.base}/a", "topic, or what the alias stands for")
    if not aliased:
        raise Wrong("the broker assigned no alias to five messages on one topic")


def subscription_id(world):
    subscriber, publisher = world.connect("s"), world.connect("p")
    subscriber.subscribe(f"{world.base}/a", 1, identifier=7)
    subscriber.subscribe(f"{world.base}/b", 1, identifier=268435455)
    publisher.publish(f"{world.base}/a", "a")
    publisher.publish(f"{world.base}/b", "b")
    identifiers = [message.properties.SubscriptionIdentifier for message in subscriber.receives("a", "b")]
    expect(identifiers, [[7], [268435455]], "subscription identifiers")


def no_local(world):
    both, other = world.connect("s"), world.connect("p")
    both.subscribe(f"{world.base}/a", 1, noLocal=True)
    both.publish(f"{world.base}/a", "own")
    other.publish(f"{world.base}/a", "other's")
    both.receives("other's")


def retain_as_published(world):
    publisher, plain, keeping = world.connect("p"), world.connect("s"), world.connect("t")
    plain.subscribe(f"{world.base}/a", 1)
    keeping.subscribe(f"{world.base}/a", 1, retainAsPublished=True)
    publisher.publish(f"{world.base}/a", "x", retain=True)
    expect(plain.receives("x")[0].retain, False, "RETAIN without retain as published")
    expect(keeping.receives("x")[0].retain, True, "RETAIN with retain as published")
    publisher.publish(f"{world.base}/a", "", retain=True)


def retain_handling(world):
    topic = f"{world.base}/a"
    world.connect("p").publish(topic, "kept", retain=True)
    subscriber = world.connect("s")
    subscriber.subscribe(topic, 1, retainHandling=2)
    subscriber.receives()
    subscriber.subscribe(topic, 1, retainHandling=1)
    subscriber.receives()
    subscriber.subscribe(topic, 1, retainHandling=0)
    subscriber.receives("kept")
    subscriber.unsubscribe(topic)
    subscriber.subscribe(topic, 1, retainHandling=1)
    subscriber.receives("kept")
    world.peers[0].publish(topic, "", retain=True)


def session_expiry(world):
    def present_after(label, first, end, pause_s=0.0):
        world.connect(label, clean=True, **first).leave(**end)
        world.let_pass(pause_s)
        again = world.connect(label, clean=False)
        present = again.session_present
        again.leave()
        return present

    expect(present_after("a", {"SessionExpiryInterval": 100}, {}), True, "session present")
    expect(present_after("b", {}, {}), False, "session present without an expiry interval")
    changed = present_after("c", {"SessionExpiryInterval": 100}, {"SessionExpiryInterval": 0})
    expect(changed, False, "session present after DISCONNECT with expiry 0")
    expect(present_after("d", {"SessionExpiryInterval": 1}, {}, 2.2), False, "session present after its expiry")


def no_subscribers(world):
    publisher = world.connect("p")
    expect(publisher.publish(f"{world.base}/a", "x", 1), 0x10, "reason code of PUBACK")
    publisher.subscribe(f"{world.base}/a", 1)
    expect(publisher.publish(f"{world.base}/a", "x", 1), 0, "reason code of PUBACK")


def assigned_client_id(world):
    assigned = [world.connect("").connack_properties.AssignedClientIdentifier for _ in range(2)]
    if not assigned[0] or assigned[0] == assigned[1]:
        raise Wrong(f"assigned {assigned}")


def maximum_packet_size(world):
    small, large, publisher = world.connect("s", MaximumPacketSize=200), world.connect("t"), world.connect("p")
    for subscriber in small, large:
        subscriber.subscribe(f"{world.base}/a", 1)
    payloads = ["x" * 20, "y" * 500, "z" * 20]
    for payload in payloads:
        publisher.publish(f"{world.base}/a", payload)
    large.receives(*payloads)
    small.receives(payloads[0], payloads[2])


def receive_maximum(world):
    slow, publisher = world.connect("s", ReceiveMaximum=2, manual_ack=True), world.connect("p")
    slow.subscribe(f"{world.base}/a", 1)
    for number in range(6):
        publisher.publish(f"{world.base}/a", f"m{number}")
    for have in [2, 3, 4, 5, 6]:
        world.until(lambda have=have: len(slow.messages) >= have, f"{have} messages")
        slow.settle()
        expect(len(slow.messages), have, "messages with two unacknowledged")
        oldest = slow.messages[have - 2]
        slow.client.ack(oldest.mid, oldest.qos)
    expect([message.payload.decode() for message in slow.messages], [f"m{n}" for n in range(6)], "messages")


def response_information(world):
    silent = world.connect("s")
    expect(hasattr(silent.connack_properties, "ResponseInformation"), False, "sent unasked")
    asking = world.connect("a", RequestResponseInformation=1)
    if not getattr(asking.connack_properties, "ResponseInformation", ""):
        raise Wrong("no response information in CONNACK")


def server_keep_alive(world):
    asked_s = 65535
    granted_s = getattr(world.connect("s", keepalive=asked_s).connack_properties, "ServerKeepAlive", asked_s)
    if granted_s >= asked_s:
        raise Wrong("CONNACK imposes no keep alive of the broker's own")


def will_delay(world):
    topic = f"{world.base}/a"
    watcher = world.connect("w")
    watcher.subscribe(topic, 1)
    stays = {"SessionExpiryInterval": 100}
    world.connect("b", will=(topic, "back in time", {"WillDelayInterval": 2}), **stays).kill()
    world.connect("g", will=(topic, "gone for good", {"WillDelayInterval": 1}), **stays).kill()
    start = time.monotonic()
    world.connect("b", clean=False, **stays)
    watcher.receives()
    world.until(lambda: watcher.messages, "the will after its delay")
    if time.monotonic() - start < 0.9:
        raise Wrong("the will did not wait for its delay")
    world.let_pass(start + 2.5 - time.monotonic())
    watcher.receives("gone for good")


FEATURES = {
    "qos0": qos(0), "qos1": qos(1), "qos2": qos(2), "retained": retained, "will": will, "resume": resume,
    "plus": plus, "hash": hash_sign, "shared": shared, "unsubscribe": unsubscribe, "takeover": takeover,
}
FEATURES_5 = {
    "user-properties": user_properties, "message-expiry": message_expiry,
    "request-response": request_response, "content-type": content_type,
    "alias-to-broker": alias_to_broker, "alias-from-broker": alias_from_broker,
    "subscription-id": subscription_id, "no-local": no_local,
    "retain-as-published": retain_as_published, "retain-handling": retain_handling,
    "session-expiry": session_expiry, "no-subscribers": no_subscribers,
    "assigned-client-id": assigned_client_id, "maximum-packet-size": maximum_packet_size,
    "receive-maximum": receive_maximum, "response-information": response_information,
    "server-keep-alive": server_keep_alive, "will-delay": will_delay,
}


def exercise(address, version, feature, run):
    """Returns the outcome and its reason."""
    world = World(address, version, feature)
    try:
        run(world)
        world.close()
        return "pass", ""
    except Exception as error:  # whatever goes wrong is this cell's outcome
        for peer in world.peers:
            peer.client._sock_close()
        return "fail", f"{type(error).__name__}: {error}".replace("\t", " ").replace("\n", " ")


def main():
    host, port, path, *wanted = sys.argv[1:]
    for version in VERSIONS:
        features = FEATURES | FEATURES_5 if version == "5" else FEATURES
        for feature, run in features.items():
            if wanted and feature not in wanted:
                continue
            outcome, reason = exercise((host, int(port)), version, feature, run)
            with open(path, "a", encoding="utf-8") as results:
                results.write(f"{outcome}\tpaho\t{version}\t{feature}\t{reason}\n")


main()
