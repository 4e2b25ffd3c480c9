"""paho over TLS: `with_paho.py PORT FOLDER`, where FOLDER has the authority and a client's certificate."""

import queue
import ssl
import sys

import paho.mqtt.client as mqtt

PORT, FOLDER = int(sys.argv[1]), sys.argv[2]
WAIT_S = 15


def connect(client_id, *, certificate=False, user=None, authority="ca.pem", version=None):
    """The client and the reason of its CONNACK."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id, protocol=mqtt.MQTTv5)
    events = queue.Queue()
    client.on_connect = lambda _c, _u, _f, reason, _p: events.put(str(reason))
    client.on_message = lambda _c, _u, message: events.put(f"{message.topic} {message.payload.decode()}")
    client.on_subscribe = lambda _c, _u, _m, reasons, _p: events.put(str(reasons[0]))
    client.on_publish = lambda _c, _u, _m, reason, _p: events.put(f"published: {reason}")
    context = ssl.create_default_context(cafile=f"{FOLDER}/{authority}")
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if certificate:
        context.load_cert_chain(f"{FOLDER}/device.pem", f"{FOLDER}/device.key")
    client.tls_set_context(context)
    if user is not None:
        client.username_pw_set(user, user)
    client.connect("localhost", PORT)
    client.loop_start()
    return client, events


def expect(events, wanted, what):
    got = events.get(timeout=WAIT_S)
    if got != wanted:
        sys.exit(f"{what}: {got} instead of {wanted}")


def talk(client, events, topic):
    client.subscribe(topic, qos=1)
    expect(events, "Granted QoS 1", "subscribe")
    client.publish(topic, "hello", qos=1)
    got = {events.get(timeout=WAIT_S), events.get(timeout=WAIT_S)}
    if got != {f"{topic} hello", "published: Success"}:
        sys.exit(f"publish: {got}")
    client.disconnect()
    client.loop_stop()


for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    client, events = connect("t", user="ann", version=version)
    expect(events, "Success", f"CONNACK over {version.name}")
    talk(client, events, "mail/ann/x")
client, events = connect("d", certificate=True)
expect(events, "Success", "CONNACK with a certificate")
client.publish("devices/pump-2/x", "not mine", qos=1)
expect(events, "published: Not authorized", "another device's topic")
talk(client, events, "devices/pump-1/x")
client, events = connect("n")
expect(events, "Not authorized", "neither certificate nor password")
client.loop_stop()
try:
    connect("w", user="ann", authority="device.pem")
except ssl.SSLError:
    pass
else:
    sys.exit("a client that trusts another authority must not go on")
print("  TLS 1.2, TLS 1.3 and client certificates hold")
