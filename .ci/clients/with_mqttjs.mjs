// Exercises a broker with MQTT.js: `node with_mqttjs.mjs MODULES HOST PORT RESULTS [FEATURE...]`.
//
// MODULES is the folder that holds `node_modules`. Appends one line for each version and feature to
// RESULTS: outcome, client, version, feature, reason, separated by tabs.

import { appendFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

const [modules, host, port, results, ...wanted] = process.argv.slice(2);
const require = createRequire(join(resolve(modules), 'program.cjs'));
const mqtt = require('mqtt');
const mqttPacket = require('mqtt-packet');

const VERSIONS = {
  '3.1': { protocolId: 'MQIsdp', protocolVersion: 3 },
  '3.1.1': { protocolId: 'MQTT', protocolVersion: 4 },
  5: { protocolId: 'MQTT', protocolVersion: 5 },
};
const WAIT_MS = 5000;
const RUN = randomBytes(3).toString('hex');

function expect(actual, expected, what) {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: ${a} instead of ${b}`);
}

async function until(condition, what, waitMs = WAIT_MS) {
  const end = Date.now() + waitMs;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`waited ${waitMs / 1000} s in vain for ${what}`);
    await sleep(3);
  }
}

// What takes too long is an error: the library's own promises may stay open for ever.
function bounded(promise, what) {
  const late = sleep(WAIT_MS, undefined, { ref: false }).then(() => {
    throw new Error(`waited ${WAIT_MS / 1000} s in vain for ${what}`);
  });
  return Promise.race([promise, late]);
}

/** One client and what it saw. */
class Peer {
  messages = [];
  packets = [];
  wire = [];
  ended = false;
  settled = 0;

  constructor(world, clientId, options) {
    this.world = world;
    this.client = mqtt.connect({
      ...VERSIONS[world.version],
      host,
      port: Number(port),
      clientId,
      reconnectPeriod: 0,
      connectTimeout: WAIT_MS,
      resubscribe: false,
      ...options,
    });
    this.client.on('message', (topic, payload, packet) => {
      this.messages.push({ ...packet, topic, aliased: packet.topic === '', text: payload.toString() });
    });
    this.client.on('packetreceive', (packet) => this.packets.push(packet));
    this.client.on('close', () => { this.ended = true; });
    this.client.on('error', (error) => { this.error = error; });
    // What arrives, whether or not the library has come to it.
    const parser = mqttPacket.parser({ protocolVersion: VERSIONS[world.version].protocolVersion });
    parser.on('packet', (packet) => this.wire.push(packet));
    this.client.stream.on('data', (bytes) => parser.parse(bytes));
  }

  last(command) {
    return this.packets.filter((packet) => packet.cmd === command).at(-1);
  }

  async connected() {
    await until(() => this.client.connected || this.ended || this.error, 'CONNACK');
    if (!this.client.connected) throw this.error ?? new Error('closed instead of accepted');
    this.connack = this.last('connack');
    return this;
  }

  async subscribe(topic, qos = 0, options = {}) {
    await bounded(this.client.subscribeAsync(topic, { qos, ...options }), `SUBACK for ${topic}`);
    expect([...this.last('suback').granted], [qos], `SUBACK for ${topic}`);
  }

  unsubscribe(topic) {
    return bounded(this.client.unsubscribeAsync(topic), `UNSUBACK for ${topic}`);
  }

  /** Publishes and waits until the broker has it. */
  async publish(topic, payload, qos = 1, options = {}) {
    const done = this.client.publishAsync(topic, payload, { qos, ...options });
    await bounded(done, `the acknowledgement of ${payload}`);
    if (qos === 0) await this.settle();
  }

  /** A round trip: what the broker sent before has arrived when it returns. */
  settle() {
    this.settled += 1;
    return this.subscribe(`${this.world.base}/settle/${this.settled}`);
  }

  /** Waits for these payloads, in order, and for nothing else. */
  async receives(...payloads) {
    await until(() => this.messages.length >= payloads.length, `${payloads.length} messages: ${payloads}`);
    await this.settle();
    expect(this.messages.map((message) => message.text), payloads, 'messages');
    return this.messages.splice(0);
  }

  /** Ends the connection without DISCONNECT. */
  kill() {
    this.client.stream.destroy();
  }

  /** Disconnects in good order and waits until the socket is gone. */
  async leave(properties) {
    if (!this.ended) await bounded(this.client.endAsync(false, properties ? { properties } : {}), 'the end');
  }
}

/** The clients of one feature. */
class World {
  peers = [];

  constructor(version, feature) {
    Object.assign(this, { version, feature, v5: version === '5' });
    this.base = `matrix/${RUN}/mqttjs-${version}/${feature}`;
  }

  connect(label, options = {}) {
    const feature = `${this.feature.length}${this.feature.slice(0, 5)}`;
    const id = `j${this.version.replaceAll('.', '')}${RUN}${label}${feature}`.slice(0, 23);
    const peer = new Peer(this, label && id, options);
    this.peers.push(peer);
    return peer.connected();
  }

  /** The options of a session that stays. */
  session() {
    return this.v5 ? { clean: false, properties: { sessionExpiryInterval: 300 } } : { clean: false };
  }
}

const qos = (level) => async (world) => {
  const [subscriber, publisher] = [await world.connect('s'), await world.connect('p')];
  await subscriber.subscribe(`${world.base}/a`, level);
  const payloads = Array.from({ length: 10 }, (_, number) => `m${number}`);
  for (const payload of payloads) await publisher.publish(`${world.base}/a`, payload, level);
  const messages = await subscriber.receives(...payloads);
  expect([...new Set(messages.map((message) => message.qos))], [level], 'QoS of the deliveries');
};

async function retained(world) {
  const topic = `${world.base}/a`;
  const publisher = await world.connect('p');
  await publisher.publish(topic, 'kept', 1, { retain: true });
  const first = await world.connect('s');
  await first.subscribe(topic, 1);
  expect((await first.receives('kept'))[0].retain, true, 'RETAIN');
  await publisher.publish(topic, 'live', 1, { retain: true });
  expect((await first.receives('live'))[0].retain, false, 'RETAIN of a live message');
  await publisher.publish(topic, '', 1, { retain: true });
  const second = await world.connect('t');
  await second.subscribe(topic, 1);
  await second.receives();
}

async function will(world) {
  const topic = `${world.base}/a`;
  const watcher = await world.connect('w');
  await watcher.subscribe(topic, 1);
  const orderly = await world.connect('o', { will: { topic, payload: 'not this', qos: 1 } });
  await orderly.leave();
  (await world.connect('d', { will: { topic, payload: 'gone', qos: 1 } })).kill();
  await watcher.receives('gone');
}

async function resume(world) {
  const topic = `${world.base}/a`;
  const sleeper = await world.connect('s', world.session());
  await sleeper.subscribe(topic, 2);
  await sleeper.leave();
  const publisher = await world.connect('p');
  // Order holds within one QoS; the handshakes of QoS 1 and 2 may overtake each other.
  const sent = [['one', 1], ['two', 2], ['three', 1], ['four', 2]];
  for (const [payload, level] of sent) await publisher.publish(topic, payload, level);
  const awake = await world.connect('s', world.session());
  if (world.version !== '3.1') expect(awake.connack.sessionPresent, true, 'session present');
  await until(() => awake.messages.length >= 4, 'four messages');
  awake.messages.sort((a, b) => a.qos - b.qos);
  await awake.receives('one', 'three', 'two', 'four');
}

async function plus(world) {
  const [subscriber, publisher] = [await world.connect('s'), await world.connect('p')];
  await subscriber.subscribe(`${world.base}/+/c`, 1);
  for (const topic of ['a/c', 'a/d', 'a/b/c', 'b/c']) await publisher.publish(`${world.base}/${topic}`, topic);
  await subscriber.receives('a/c', 'b/c');
}

async function hash(world) {
  const [subscriber, publisher] = [await world.connect('s'), await world.connect('p')];
  await subscriber.subscribe(`${world.base}/a/#`, 1);
  for (const topic of ['a', 'a/b', 'b', 'a/b/c']) await publisher.publish(`${world.base}/${topic}`, topic);
  await subscriber.receives('a', 'a/b', 'a/b/c');
}

async function shared(world) {
  const members = [await world.connect('s'), await world.connect('t')];
  for (const member of members) await member.subscribe(`$share/group${RUN}/${world.base}/a`, 1);
  const publisher = await world.connect('p');
  const payloads = Array.from({ length: 20 }, (_, number) => `m${number}`);
  for (const payload of payloads) await publisher.publish(`${world.base}/a`, payload);
  const all = () => members.flatMap((member) => member.messages.map((message) => message.text));
  await until(() => all().length >= 20, '20 messages');
  for (const member of members) await member.settle();
  expect(all().sort(), payloads.sort(), 'messages of both members together');
}

async function unsubscribe(world) {
  const [subscriber, publisher] = [await world.connect('s'), await world.connect('p')];
  await subscriber.subscribe(`${world.base}/a`, 1);
  await publisher.publish(`${world.base}/a`, 'before');
  await subscriber.receives('before');
  await subscriber.unsubscribe(`${world.base}/a`);
  await publisher.publish(`${world.base}/a`, 'after');
  await subscriber.receives();
}

async function takeover(world) {
  const first = await world.connect('x');
  await world.connect('x');
  await until(() => first.ended, 'the end of the first connection');
  if (world.v5) expect(first.last('disconnect')?.reasonCode, 0x8e, 'reason code of DISCONNECT');
}

async function userProperties(world) {
  const [subscriber, publisher] = [await world.connect('s'), await world.connect('p')];
  await subscriber.subscribe(`${world.base}/a`, 1);
  // MQTT.js groups properties by name, so the order of different names cannot be told from it.
  const userProperties = { b: ['1', '3', '2'], a: 'é' };
  await publisher.publish(`${world.base}/a`, 'x', 1, { properties: { userProperties } });
  const got = (await subscriber.receives('x'))[0].properties.userProperties;
  expect({ b: got.b, a: got.a }, userProperties, 'user properties');
}

async function messageExpiry(world) {
  const topic = `${world.base}/a`;
  const sleeper = await world.connect('s', world.session());
  await sleeper.subscribe(topic, 1);
  await sleeper.leave();
  const publisher = await world.connect('p');
  await publisher.publish(topic, 'short', 1, { properties: { messageExpiryInterval: 1 } });
  await publisher.publish(topic, 'long', 1, { properties: { messageExpiryInterval: 100 } });
  await publisher.publish(topic, 'endless');
  await sleep(2200);
  const awake = await world.connect('s', world.session());
  const [long, endless] = await awake.receives('long', 'endless');
  const left = long.properties?.messageExpiryInterval;
  if (!(left >= 90 && left < 100)) throw new Error(`${left} s left of 100 after 2`);
  expect(endless.properties?.messageExpiryInterval, undefined, 'expiry where none was set');
}

async function requestResponse(world) {
  const [asker, answerer] = [await world.connect('a'), await world.connect('b')];
  await answerer.subscribe(`${world.base}/ask`, 1);
  await asker.subscribe(`${world.base}/answer`, 1);
  const properties = { responseTopic: `${world.base}/answer`, correlationData: Buffer.from([0, 255, 7]) };
  await asker.publish(`${world.base}/ask`, 'how?', 1, { properties });
  const question = (await answerer.receives('how?'))[0].properties;
  const { correlationData } = question;
  await answerer.publish(question.responseTopic, 'so', 1, { properties: { correlationData } });
  const answer = (await asker.receives('so'))[0].properties;
  expect([...answer.correlationData], [0, 255, 7], 'correlation data');
}

async function contentType(world) {
  const [subscriber, publisher] = [await world.connect('s'), await world.connect('p')];
  await subscriber.subscribe(`${world.base}/a`, 1);
  const properties = { contentType: 'application/json', payloadFormatIndicator: true };
  await publisher.publish(`${world.base}/a`, '{}', 1, { properties });
  const got = (await subscriber.receives('{}'))[0].properties;
  expect([got.contentType, got.payloadFormatIndicator], ['application/json', true], 'properties');
}

async function aliasToBroker(world) {
  const subscriber = await world.connect('s');
  const publisher = await world.connect('p', { autoAssignTopicAlias: true });
  expect((publisher.connack.properties?.topicAliasMaximum ?? 0) > 0, true, 'a topic alias is allowed');
  await subscriber.subscribe(`${world.base}/#`, 1);
  let aliased = 0;
  publisher.client.on('packetsend', (packet) => { aliased += packet.cmd === 'publish' && packet.topic === ''; });
  const payloads = ['one', 'two', 'three', 'four'];
  for (const payload of payloads) {
    await publisher.publish(`${world.base}/${payload.includes('o') ? 'a' : 'b'}`, payload);
  }
  const messages = await subscriber.receives(...payloads);
  expect(messages.map((message) => message.topic.at(-1)), ['a', 'a', 'b', 'a'], 'topics');
  expect(aliased, 2, 'packets sent with an alias alone');
}

async function aliasFromBroker(world) {
  const subscriber = await world.connect('s', { properties: { topicAliasMaximum: 5 } });
  const publisher = await world.connect('p');
  await subscriber.subscribe(`${world.base}/a`, 1);
  const payloads = ['1', '2', '3', '4', '5'];
  for (const payload of payloads) await publisher.publish(`${world.base}/a`, payload);
  const messages = await subscriber.receives(...payloads);
  expect([...new Set(messages.map((message) => message.topic))], [`${world.base}/a`], 'topics');
  if (!messages.some((message) => message.aliased)) {
    throw new Error('the broker assigned no alias to five messages on one topic');
  }
}

async function subscriptionId(world) {
  const [subscriber, publisher] = [await world.connect('s'), await world.connect('p')];
  await subscriber.subscribe(`${world.base}/a`, 1, { properties: { subscriptionIdentifier: 7 } });
  await subscriber.subscribe(`${world.base}/b`, 1, { properties: { subscriptionIdentifier: 268435455 } });
  await publisher.publish(`${world.base}/a`, 'a');
  await publisher.publish(`${world.base}/b`, 'b');
  const messages = await subscriber.receives('a', 'b');
  const identifiers = messages.map((message) => message.properties?.subscriptionIdentifier);
  expect(identifiers, [7, 268435455], 'subscription identifiers');
}

async function noLocal(world) {
  const [both, other] = [await world.connect('s'), await world.connect('p')];
  await both.subscribe(`${world.base}/a`, 1, { nl: true });
  await both.publish(`${world.base}/a`, 'own');
  await other.publish(`${world.base}/a`, 'other');
  await both.receives('other');
}

async function retainAsPublished(world) {
  const [publisher, plain, keeping] = [await world.connect('p'), await world.connect('s'), await world.connect('t')];
  await plain.subscribe(`${world.base}/a`, 1);
  await keeping.subscribe(`${world.base}/a`, 1, { rap: true });
  await publisher.publish(`${world.base}/a`, 'x', 1, { retain: true });
  expect((await plain.receives('x'))[0].retain, false, 'RETAIN without retain as published');
  expect((await keeping.receives('x'))[0].retain, true, 'RETAIN with retain as published');
  await publisher.publish(`${world.base}/a`, '', 1, { retain: true });
}

async function retainHandling(world) {
  const topic = `${world.base}/a`;
  const publisher = await world.connect('p');
  await publisher.publish(topic, 'kept', 1, { retain: true });
  const subscriber = await world.connect('s');
  await subscriber.subscribe(topic, 1, { rh: 2 });
  await subscriber.receives();
  await subscriber.subscribe(topic, 1, { rh: 1 });
  await subscriber.receives();
  await subscriber.subscribe(topic, 1, { rh: 0 });
  await subscriber.receives('kept');
  await subscriber.unsubscribe(topic);
  await subscriber.subscribe(topic, 1, { rh: 1 });
  await subscriber.receives('kept');
  await publisher.publish(topic, '', 1, { retain: true });
}

async function sessionExpiry(world) {
  const presentAfter = async (label, sessionExpiryInterval, end, pauseMs = 0) => {
    const first = await world.connect(label, { clean: true, properties: { sessionExpiryInterval } });
    await first.leave(end);
    await sleep(pauseMs);
    const again = await world.connect(label, { clean: false });
    await again.leave();
    return again.connack.sessionPresent;
  };
  expect(await presentAfter('a', 100), true, 'session present');
  expect(await presentAfter('b', 0), false, 'session present without an expiry interval');
  const changed = await presentAfter('c', 100, { sessionExpiryInterval: 0 });
  expect(changed, false, 'session present after DISCONNECT with expiry 0');
  expect(await presentAfter('d', 1, undefined, 2200), false, 'session present after its expiry');
}

async function noSubscribers(world) {
  const publisher = await world.connect('p');
  await publisher.publish(`${world.base}/a`, 'x');
  expect(publisher.last('puback').reasonCode, 0x10, 'reason code of PUBACK');
  await publisher.subscribe(`${world.base}/a`, 1);
  await publisher.publish(`${world.base}/a`, 'x');
  expect(publisher.last('puback').reasonCode ?? 0, 0, 'reason code of PUBACK');
}

async function assignedClientId(world) {
  const assigned = [];
  for (let count = 0; count < 2; count += 1) {
    const peer = await world.connect('', { clean: true });
    assigned.push(peer.connack.properties?.assignedClientIdentifier);
  }
  if (!assigned[0] || assigned[0] === assigned[1]) throw new Error(`assigned ${assigned}`);
}

async function maximumPacketSize(world) {
  const small = await world.connect('s', { properties: { maximumPacketSize: 200 } });
  const [large, publisher] = [await world.connect('t'), await world.connect('p')];
  for (const subscriber of [small, large]) await subscriber.subscribe(`${world.base}/a`, 1);
  const payloads = ['x'.repeat(20), 'y'.repeat(500), 'z'.repeat(20)];
  for (const payload of payloads) await publisher.publish(`${world.base}/a`, payload);
  await large.receives(...payloads);
  await small.receives(payloads[0], payloads[2]);
}

async function receiveMaximum(world) {
  // The library takes one message after another; what came is counted on the wire.
  const held = [];
  const customHandleAcks = (_topic, _payload, _packet, done) => held.push(() => done(null, 0));
  const slow = await world.connect('s', { properties: { receiveMaximum: 2 }, customHandleAcks });
  const publisher = await world.connect('p');
  await slow.subscribe(`${world.base}/a`, 1);
  for (let number = 0; number < 6; number += 1) await publisher.publish(`${world.base}/a`, `m${number}`);
  const count = (command) => slow.wire.filter((packet) => packet.cmd === command).length;
  for (const have of [2, 3, 4, 5, 6]) {
    await until(() => count('publish') >= have, `${have} messages`);
    const pings = count('pingresp');
    slow.client.sendPing();
    await until(() => count('pingresp') > pings, 'PINGRESP');
    expect(count('publish'), have, 'messages with two unacknowledged');
    await until(() => held.length > 0, 'the library to take a message');
    held.shift()();
  }
}

async function responseInformation(world) {
  const silent = await world.connect('s');
  expect(silent.connack.properties?.responseInformation, undefined, 'sent unasked');
  const asking = await world.connect('a', { properties: { requestResponseInformation: true } });
  if (!asking.connack.properties?.responseInformation) throw new Error('no response information in CONNACK');
}

async function serverKeepAlive(world) {
  const peer = await world.connect('s', { keepalive: 65535 });
  const granted = peer.connack.properties?.serverKeepAlive ?? 65535;
  if (granted >= 65535) throw new Error("CONNACK imposes no keep alive of the broker's own");
}

async function willDelay(world) {
  const topic = `${world.base}/a`;
  const watcher = await world.connect('w');
  await watcher.subscribe(topic, 1);
  const stays = { properties: { sessionExpiryInterval: 100 } };
  const delayed = (payload, willDelayInterval) =>
    ({ ...stays, will: { topic, payload, qos: 1, properties: { willDelayInterval } } });
  (await world.connect('b', delayed('back in time', 2))).kill();
  (await world.connect('g', delayed('gone for good', 1))).kill();
  const start = Date.now();
  await world.connect('b', { clean: false, ...stays });
  await watcher.receives();
  await until(() => watcher.messages.length > 0, 'the will after its delay');
  if (Date.now() - start < 900) throw new Error('the will did not wait for its delay');
  await sleep(Math.max(0, start + 2500 - Date.now()));
  await watcher.receives('gone for good');
}

const FEATURES = {
  qos0: qos(0), qos1: qos(1), qos2: qos(2), retained, will, resume, plus, hash, shared, unsubscribe, takeover,
};
const FEATURES_5 = {
  'user-properties': userProperties, 'message-expiry': messageExpiry, 'request-response': requestResponse,
  'content-type': contentType, 'alias-to-broker': aliasToBroker, 'alias-from-broker': aliasFromBroker,
  'subscription-id': subscriptionId, 'no-local': noLocal, 'retain-as-published': retainAsPublished,
  'retain-handling': retainHandling, 'session-expiry': sessionExpiry, 'no-subscribers': noSubscribers,
  'assigned-client-id': assignedClientId, 'maximum-packet-size': maximumPacketSize,
  'receive-maximum': receiveMaximum, 'response-information': responseInformation,
  'server-keep-alive': serverKeepAlive, 'will-delay': willDelay,
};

for (const version of ['3.1', '3.1.1', '5']) {
  const features = version === '5' ? { ...FEATURES, ...FEATURES_5 } : FEATURES;
  for (const [feature, run] of Object.entries(features)) {
    if (wanted.length > 0 && !wanted.includes(feature)) continue;
    const world = new World(version, feature);
    let [outcome, reason] = ['pass', ''];
    try {
      await run(world);
    } catch (error) {
      [outcome, reason] = ['fail', String(error).replaceAll(/[\t\n]/g, ' ')];
    }
    for (const peer of world.peers) {
      if (outcome === 'pass') await peer.leave().catch(() => {});
      peer.client.stream.destroy();
    }
    appendFileSync(results, [outcome, 'mqttjs', version, feature, reason].join('\t') + '\n');
  }
}
process.exit(0);
