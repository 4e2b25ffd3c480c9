// MQTT.js in a web page in headless Chromium, over secure WebSocket:
// `node with_browser.mjs CACHE MODULES PORT PIN TOKEN`.
//
// CACHE has puppeteer-core, MODULES has MQTT.js, PIN is the hash of the broker's public key, which stands
// for trust in its authority; TOKEN is one that the broker made for ann. The page is served on localhost,
// another origin than the broker's.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const [cache, modules, port, pin, token] = process.argv.slice(2);
const puppeteer = createRequire(join(resolve(cache), 'program.cjs'))('puppeteer-core');
const library = readFileSync(join(modules, 'node_modules/mqtt/dist/mqtt.min.js'));

const page = createServer((request, response) => {
  const isLibrary = request.url === '/mqtt.js';
  response.setHeader('content-type', isLibrary ? 'text/javascript' : 'text/html');
  response.end(isLibrary ? library : '<!doctype html><title>MQTT</title><script src="/mqtt.js"></script>');
});
await new Promise((resolve) => page.listen(0, '127.0.0.1', resolve));

// Runs in the page.
async function talk(url, password, size) {
  const client = mqtt.connect(url, { protocolVersion: 5, username: 'ann', password, reconnectPeriod: 0 });
  return await new Promise((resolve) => {
    const late = setTimeout(() => resolve('nothing came'), 15000);
    const end = (outcome) => {
      clearTimeout(late);
      client.end(true);
      resolve(outcome);
    };
    client.on('error', (error) => end(`error: ${error.message}`));
    client.on('close', () => end('closed'));
    client.on('message', (topic, payload) => end(`${topic} ${payload.length}`));
    client.on('connect', () =>
      client.subscribe('mail/ann/#', { qos: 1 }, () => client.publish('mail/ann/page', 'x'.repeat(size), { qos: 1 })),
    );
  });
}

const profile = mkdtempSync(join(tmpdir(), 'chromium-'));
const browser = await puppeteer.launch({
  executablePath: '/usr/bin/chromium',
  headless: true,
  userDataDir: profile,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', `--ignore-certificate-errors-spki-list=${pin}`,
  ],
});
let failed = false;
try {
  const tab = await browser.newPage();
  await tab.goto(`http://localhost:${page.address().port}/`);
  const broker = `wss://localhost:${port}`;
  for (const [what, url, password, size, wanted] of [
    ['at /mqtt', `${broker}/mqtt`, 'ann', 10, 'mail/ann/page 10'],
    ['at /', `${broker}/`, 'ann', 300000, 'mail/ann/page 300000'],
    ['with a token', `${broker}/mqtt`, token, 10, 'mail/ann/page 10'],
    ['with a forged token', `${broker}/mqtt`, token.replace('.', '.x'), 10, 'error: Connection refused: Not authorized'],
    ['with a wrong password', `${broker}/mqtt`, 'wrong', 10, 'error: Connection refused: Bad User Name or Password'],
    ['at another path', `${broker}/other`, 'ann', 10, 'error: WebSocket connection error'],
  ]) {
    const outcome = await tab.evaluate(talk, url, password, size);
    if (outcome !== wanted && !(wanted.startsWith('error: Web') && /^(error|closed)/.test(outcome))) {
      console.log(`failed ${what}: ${outcome} instead of ${wanted}`);
      failed = true;
    }
  }
  // A page whose host is another than the broker's is kept out, whatever it knows.
  await tab.goto(`http://127.0.0.1:${page.address().port}/`);
  const foreign = await tab.evaluate(talk, `${broker}/mqtt`, 'ann', 10);
  if (!/^(error|closed)/.test(foreign)) {
    console.log(`failed for a foreign page: ${foreign}`);
    failed = true;
  }
  console.log(failed ? '  failed' : '  pages of the same host come in, with the right password; others do not');
} finally {
  await browser.close();
  page.close();
  rmSync(profile, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);
