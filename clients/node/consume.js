// Reads a topic with kafkajs, `events-input` if no other is named, and decodes it with the CloudEvents SDK for
// JavaScript. The number of its records may follow: transactions leave offsets without one.
const { Kafka: Client, logLevel } = require("kafkajs");
const { Kafka } = require("cloudevents");
const version = (name) => require(`${name}/package.json`).version;

const [topic = "events-input", records] = process.argv.slice(2);
const line = {
  client: "kafkajs, CloudEvents SDK (JavaScript)", mode: `reads ${topic}`,
  version: `${version("kafkajs")}, ${version("cloudevents")}`,
};

async function main() {
  const client = new Client({ brokers: [process.env.CLIENTS_BROKERS], logLevel: logLevel.ERROR });
  const admin = client.admin();
  await admin.connect();
  const ends = await admin.fetchTopicOffsets(topic);
  await admin.disconnect();
  let left = records ? Number(records) : ends.reduce((sum, { low, high }) => sum + Number(high) - Number(low), 0);

  const consumer = client.consumer({ groupId: `clients-node-${topic}` });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  line.read = [];
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`${left} records are missing`)), 60_000).unref();
    consumer.run({
      eachMessage: async ({ message }) => {
        try {
          const headers = Object.fromEntries(Object.entries(message.headers).map(([k, v]) => [k, v.toString()]));
          const event = Kafka.toEvent({ headers, key: message.key?.toString(), value: message.value.toString() });
          const data = typeof event.data === "string" ? JSON.parse(event.data) : event.data;
          const { partitionkey, sequence, correlationid, causationid } = event;
          line.read.push([event.subject, event.id, event.type, data,
            { partitionkey, sequence, correlationid, causationid }]);
        } catch (error) {
          reject(error);
        }
        left -= 1;
        if (left === 0) resolve();
      },
    });
  });
  await consumer.disconnect();
}

main().catch((error) => { delete line.read; line.error = String(error); })
  .finally(() => { process.stdout.write(`${JSON.stringify(line)}\n`, () => process.exit()); });
