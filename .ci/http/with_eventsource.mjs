// An event source written by others: it comes back by itself with its Last-Event-ID.
//
//   node with_eventsource.mjs CACHE URL KEY

import { createRequire } from 'node:module';

const [cache, url, key] = process.argv.slice(2);
const { EventSource } = createRequire(`${cache}/`)('eventsource');

const publish = async (payload) => {
    const answer = await fetch(`${url}/v1/publish?topic=source/1`, { method: 'POST', body: payload });
    if (!answer.ok) throw new Error(`publish ${payload}: ${answer.status} ${await answer.text()}`);
};
const operate = async (method, path) => {
    const answer = await fetch(url + path, { method, headers: { authorization: `Bearer ${key}` } });
    if (answer.status !== 204) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
};
const check = (name, got, expected) => {
    if (JSON.stringify(got) !== JSON.stringify(expected)) {
        throw new Error(`${name}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`);
    }
    console.log(`ok: ${name}`);
};

const source = new EventSource(`${url}/v1/subscribe?filter=source/%23&session=source`);
let opened = 0;
const got = [];
let wake = () => {};
source.addEventListener('message', (event) => {
    got.push(JSON.parse(event.data).payload);
    wake();
});
source.onopen = () => { opened += 1; wake(); };
const until = async (what, isSo) => {
    const end = Date.now() + 20_000;
    while (!isSo()) {
        if (Date.now() > end) throw new Error(`${what} did not come: ${JSON.stringify(got)}`);
        await new Promise((resolve) => { wake = resolve; setTimeout(resolve, 50); });
    }
};

await until('the stream', () => opened > 0);
await publish('1');
await publish('2');
await until('two events', () => got.length === 2);
check('events come in order', got, ['1', '2']);
await operate('POST', '/v1/sessions/source/disconnect');
await publish('3');
await until('the third event', () => got.length >= 3);
check('a source that comes back misses nothing and repeats nothing', got, ['1', '2', '3']);
for (let number = 4; number <= 400; number += 1) await publish(String(number));
await until('all events', () => got.length >= 400);
const expected = Array.from({ length: 400 }, (_, index) => String(index + 1));
check('a source goes on beyond a full window', got, expected);
source.close();
