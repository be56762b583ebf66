// The CloudEvents SDK for JavaScript, axios and Node's fetch.
const { CloudEvent, HTTP, emitterFor, httpTransport } = require("cloudevents");
const axios = require("axios");
const sdk = require("cloudevents/package.json").version;

const { CLIENTS_URL: url, CLIENTS_TOKEN: token } = process.env;
const authorized = { authorization: `Bearer ${token}` };
const payload = (number = 1) => ({ temp_c: 36.5 + number, status: "online", note: "größer als 100 %" });
const plain = (device, number = 1) => ({ device_id: device, event_id: `${device}-${number}`, payload: payload(number) });
const event = (device) => new CloudEvent({
  id: `${device}-1`, source: "/clients", type: "io.edge.device.reported.v1", subject: device,
  datacontenttype: "application/json", data: payload(), note: "100% big",
});

async function attempt(client, version, mode, run) {
  const line = { client, version, mode };
  const device = `${client}-${mode}`.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
  try {
    line.sent = (await run(device)) ?? {};
  } catch (error) {
    line.error = `${error}${error.cause ? `: ${error.cause}` : ""}`;
  }
  console.log(JSON.stringify(line));
}

async function post(path, headers, body, wanted = 202, more = {}) {
  const answer = await fetch(url + path, { method: "POST", headers: { ...authorized, ...headers }, body, ...more });
  const text = await answer.text();
  if (answer.status !== wanted) throw new Error(`${answer.status} instead of ${wanted}: ${text}`);
}

const json = { "content-type": "application/json" };

async function main() {
  const name = "CloudEvents SDK (JavaScript)";
  for (const mode of ["binary", "structured"]) {
    await attempt(name, sdk, mode, async (device) => {
      const { headers, body } = HTTP[mode](event(device));
      await post("/events", headers, body);
      return { [device]: payload() };
    });
  }
  await attempt(name, sdk, "batched", async (device) => {
    const devices = [1, 2, 3].map((n) => `${device}-${n}`);
    const body = JSON.stringify(devices.map(event));
    await post("/events/batch", { "content-type": "application/cloudevents-batch+json" }, body);
    return Object.fromEntries(devices.map((each) => [each, payload()]));
  });
  await attempt(name, sdk, "its emitter (httpTransport)", async (device) => {
    const emit = emitterFor(httpTransport(`${url}/events`));
    const { body } = await emit(event(device), { headers: authorized });
    if (JSON.parse(body).status !== "accepted") throw new Error(body);
    return { [device]: payload() };
  });
  await attempt(name, sdk, "binary, sent by axios", async (device) => {
    const { headers, body } = HTTP.binary(event(device));
    await axios.post(`${url}/events`, body, { headers: { ...authorized, ...headers } });
    return { [device]: payload() };
  });

  await attempt("axios", axios.VERSION, "one POST", async (device) => {
    await axios.post(`${url}/events`, plain(device), { headers: authorized });
    return { [device]: payload() };
  });
  const node = process.versions.node;
  await attempt("fetch (Node)", node, "keep-alive, 20 POSTs", async (device) => {
    for (let n = 0; n < 20; n++) await post("/events", json, JSON.stringify(plain(device, n)));
    return { [device]: payload(19) };
  });
  await attempt("fetch (Node)", node, "50 POSTs at once", async (device) => {
    const devices = Array.from({ length: 50 }, (_, n) => `${device}-${n}`);
    await Promise.all(devices.map((each) => post("/events", json, JSON.stringify(plain(each)))));
    return Object.fromEntries(devices.map((each) => [each, payload()]));
  });
  await attempt("fetch (Node)", node, "a stream as the body", async (device) => {
    const body = new Blob([JSON.stringify(plain(device))]).stream();
    await post("/events", json, body, 202, { duplex: "half" });
    return { [device]: payload() };
  });
  await attempt("fetch (Node)", node, "20 MB: reads the 413", () =>
    post("/events", json, JSON.stringify(plain("large")) + " ".repeat(20_000_000), 413));
}

main();
