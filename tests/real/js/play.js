// Plays one scenario with MQTT.js and prints what it saw as JSON: node play.js PORT VERSION [CA CERTIFICATE KEY TLS]
const fs = require("fs");
const mqtt = require("mqtt");

const port = Number(process.argv[2]);
const version = Number(process.argv[3]);
const [ca, cert, key] = process.argv.slice(4, 7).map((file) => fs.readFileSync(file));
const tls = ca ? { protocol: "mqtts", ca, cert, key, minVersion: process.argv[7], maxVersion: process.argv[7] } : {};
const seen = {};

function device(name, options = {}) {
  return new Promise((resolve, reject) => {
    const client = mqtt.connect({
      host: "127.0.0.1", port, clientId: name, protocolVersion: version,
      protocolId: version === 3 ? "MQIsdp" : "MQTT", reconnectPeriod: 0, connectTimeout: 15000, ...tls, ...options,
    });
    client.inbox = [];
    client.waiting = [];
    client.on("message", (topic, payload, packet) => {
      const { qos, retain, properties } = packet;
      const message = { topic, payload: payload.toString(), qos, retain };
      if (properties) message.properties = plain(properties);
      const waiter = client.waiting.shift();
      if (waiter) waiter(message); else client.inbox.push(message);
    });
    client.once("connect", (connack) => { client.connack = connack; resolve(client); });
    client.once("error", reject);
  });
}

function plain(properties) {
  const result = { ...properties };
  if (result.correlationData) result.correlationData = result.correlationData.toString("hex");
  if (result.userProperties) result.userProperties = { ...result.userProperties };
  return result;
}

function receive(client) {
  if (client.inbox.length) return Promise.resolve(client.inbox.shift());
  return new Promise((resolve) => client.waiting.push(resolve));
}

async function refusal(promise) {
  try {
    return { granted: await promise };
  } catch (error) {
    return { code: error.code, message: error.message };
  }
}

async function play() {
  const a = await device("js-a");
  seen.connack = { code: version === 5 ? a.connack.reasonCode : a.connack.returnCode, present: a.connack.sessionPresent };
  seen.granted = (await a.subscribeAsync({ "js/0": { qos: 0 }, "js/1": { qos: 1 }, "js/+/x": { qos: 2 } })).map((one) => [one.topic, one.qos]);
  seen.messages = [];
  for (const topic of ["js/0", "js/1", "js/2/x"]) {
    for (const qos of [0, 1, 2]) {
      await a.publishAsync(topic, `${topic} at ${qos}`, { qos });
      seen.messages.push(await receive(a));
    }
  }
  await a.publishAsync("js/large", "x".repeat(300000), { qos: 2, retain: true });
  await a.subscribeAsync("js/large", { qos: 1 });
  const large = await receive(a);
  seen.large = [large.payload.length, large.qos, large.retain];
  await a.publishAsync("js/large", "", { qos: 1, retain: true });
  await receive(a);
  await a.unsubscribeAsync("js/large");

  const mortal = await device("js-mortal", { will: { topic: "js/will/x", payload: "gone", qos: 1, retain: false } });
  mortal.stream.destroy();
  seen.will = await receive(a);

  const lasting = version === 5 ? { clean: false, properties: { sessionExpiryInterval: 60 } } : { clean: false };
  const keeper = await device("js-keeper", lasting);
  await keeper.subscribeAsync("js/kept", { qos: 2 });
  await keeper.endAsync();
  for (let number = 0; number < 20; number += 1) await a.publishAsync("js/kept", `${number}`, { qos: 1 + number % 2 });
  const back = await device("js-keeper", lasting);
  seen.kept = [];
  for (let number = 0; number < 20; number += 1) seen.kept.push((await receive(back)).payload);
  seen.kept.sort();
  await back.endAsync();
  await (await device("js-keeper", { clean: true })).endAsync();

  if (version === 5) {
    const properties = {
      contentType: "text/plain", responseTopic: "js/answer", correlationData: Buffer.from([0, 255]),
      payloadFormatIndicator: true, userProperties: { b: ["1", "2"], a: "3" },
    };
    await a.subscribeAsync("js/props", { qos: 1, nl: false, rap: true, rh: 0, properties: { subscriptionIdentifier: 9 } });
    await a.publishAsync("js/props", "x", { qos: 1, properties });
    seen.properties = await receive(a);
    const aliased = await device("js-aliased", { autoAssignTopicAlias: true });
    for (let number = 0; number < 3; number += 1) {
      await aliased.publishAsync("js/props", `aliased ${number}`, { qos: 1 });
      seen[`aliased ${number}`] = (await receive(a)).payload;
    }
    await aliased.endAsync();
  }
  seen.refusedFilter = await refusal(a.subscribeAsync("closed/quota", { qos: 1 }).then((granted) => granted.map((one) => one.qos)));
  seen.refusedMessage1 = await refusal(a.publishAsync("closed/quota", "x", { qos: 1 }).then(() => 0));
  seen.refusedMessage2 = await refusal(a.publishAsync("closed/quota", "x", { qos: 2 }).then(() => 0));
  seen.refusedConnect = await refusal(device("js-refused", { username: "deny", password: "banned" }).then(() => 0));
  await a.endAsync();
}

play().then(() => {
  process.stdout.write(`${JSON.stringify(seen)}\n`, () => process.exit(0));
}, (error) => {
  process.stderr.write(`${JSON.stringify(seen)}\n${error.stack}\n`, () => process.exit(1));
});
setTimeout(() => { process.stderr.write(`stuck after ${JSON.stringify(seen)}\n`); process.exit(2); }, 40000);
