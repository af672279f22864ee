// A round with MQTT.js over WebSocket, printed as JSON: node play.js URL VERSION [CA CERT KEY]
const fs = require("fs");
const mqtt = require("mqtt");

const [url, version, ca, cert, key] = process.argv.slice(2);
const secure = ca ? { ca: fs.readFileSync(ca), cert: fs.readFileSync(cert), key: fs.readFileSync(key) } : {};
const protocolVersion = Number(version);
const client = mqtt.connect(url, {
  clientId: `js-${version}`, protocolVersion, protocolId: protocolVersion === 3 ? "MQIsdp" : "MQTT",
  reconnectPeriod: 0, connectTimeout: 15000, wsOptions: secure,
});
const seen = [];
const waiting = [];
client.on("message", (topic, payload, packet) => waiting.shift()([topic, payload.length, packet.qos]));

function arrival() {
  return new Promise((resolve) => waiting.push(resolve));
}

async function play() {
  await client.subscribeAsync("js/#", { qos: 2 });
  for (const qos of [0, 1, 2]) {
    for (const size of [0, 64, 300000]) {
      const came = arrival();
      await client.publishAsync(`js/${qos}`, "x".repeat(size), { qos });
      seen.push(await came);
    }
  }
  await client.endAsync();
}

client.once("connect", () => play().then(() => {
  process.stdout.write(JSON.stringify(seen), () => process.exit(0));
}, fail));
client.once("error", fail);
setTimeout(() => fail(new Error(`stuck after ${JSON.stringify(seen)}`)), 30000);

function fail(error) {
  process.stderr.write(`${error.stack}\n`, () => process.exit(1));
}
