"""The worker in Python: the topic into PostgreSQL, in batches, each in one transaction of two statements.

One process; start it twice, the consumer group divides the partitions. While a batch is applied, a thread gathers the
next one.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from datetime import datetime, timezone

import asyncpg
import redis.asyncio
import uvloop
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from redis.exceptions import RedisError

import checks
from cache import escaped

BATCH = int(os.environ.get("WORKER_BATCH", "1000"))
# The first copy of an event counts, in the batch too; of a repeat nothing is returned.
EVENTS = """
    INSERT INTO events (device_id, event_id, type, payload, user_id, request_id, accepted_at, occurred_at,
                        topic, partition, "offset", appended_at, outcome)
    SELECT device_id, event_id, $12, payload::jsonb, user_id, request_id, accepted_at, occurred_at,
           topic, partition, "offset", appended_at, 'applied'
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[],
                $8::text[], $9::int[], $10::bigint[], $11::timestamptz[])
      AS new (device_id, event_id, payload, user_id, request_id, accepted_at, occurred_at,
              topic, partition, "offset", appended_at)
    ON CONFLICT (device_id, event_id) DO NOTHING RETURNING device_id, event_id"""
# The newer position decides: in one partition the greater offset, across partitions the later append time.
RESOURCES = """
    INSERT INTO resources AS r (id, payload, version, event_id, accepted_at, updated_at,
                                topic, partition, "offset", appended_at)
    SELECT id, payload::jsonb, version, event_id, accepted_at, now(), topic, partition, "offset", appended_at
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::timestamptz[], $6::text[], $7::int[],
                $8::bigint[], $9::timestamptz[])
      AS new (id, payload, version, event_id, accepted_at, topic, partition, "offset", appended_at)
    ON CONFLICT (id) DO UPDATE SET
      payload = excluded.payload, version = r.version + excluded.version, event_id = excluded.event_id,
      accepted_at = excluded.accepted_at, updated_at = excluded.updated_at, topic = excluded.topic,
      partition = excluded.partition, "offset" = excluded."offset", appended_at = excluded.appended_at
    WHERE CASE WHEN (r.topic, r.partition) = (excluded.topic, excluded.partition)
               THEN r."offset" < excluded."offset" ELSE r.appended_at <= excluded.appended_at END"""
TYPE = "io.edge.device.reported.v1"


def decode(message: Message) -> tuple:
    """The row of an event; a `ValueError` if the record is none."""
    try:
        headers = {name: value.decode() for name, value in message.headers() or ()}
        if headers["ce_specversion"] != "1.0" or headers["ce_type"] != TYPE:
            raise ValueError("no event of this type")
        device, value = headers["ce_subject"], message.value()
        if message.key() != device.encode() or not checks.is_device(device):
            raise ValueError("the key is not the subject")
        if not checks.EVENT_ID(headers["ce_id"]):
            raise ValueError("ce_id is none")
        checks.check_payload(value)
        accepted_at = datetime.fromisoformat(headers["ce_acceptedat"])
        same = headers.get("ce_time", headers["ce_acceptedat"]) == headers["ce_acceptedat"]
        occurred_at = accepted_at if same else datetime.fromisoformat(headers["ce_time"])
        _, appended = message.timestamp()
        return (device, headers["ce_id"], value.decode(), headers.get("ce_userid"), headers.get("ce_requestid"),
                accepted_at, occurred_at, message.topic(), message.partition(), message.offset(),
                datetime.fromtimestamp(appended / 1000, timezone.utc))
    except (KeyError, AttributeError, checks.Invalid, checks.NotJson) as error:
        raise ValueError(str(error)) from None


class Worker:
    def __init__(self):
        brokers = {"bootstrap.servers": os.environ["KAFKA_BROKERS"]}
        self.group = os.environ["KAFKA_GROUP"]
        self.dead_letters, self.dlq = Producer(brokers | {"acks": "all", "enable.idempotence": True}), os.environ["KAFKA_DLQ_TOPIC"]
        self.consumer = Consumer(brokers | {
            "group.id": self.group,
            "client.id": "peer-python",
            "partition.assignment.strategy": "cooperative-sticky",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": True,
            "auto.commit.interval.ms": 1_000,
            # Only applied records are stored, and only stored offsets are committed.
            "enable.auto.offset.store": False,
            "session.timeout.ms": 10_000,
            "fetch.wait.max.ms": 100,
            "queued.min.messages": 10_000,
        })
        self.consumer.subscribe([os.environ["KAFKA_INPUT_TOPIC"]])

    async def run(self, stop: asyncio.Event) -> None:
        store = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=1, command_timeout=5)
        cache = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"])
        prefix = os.environ.get("CACHE_KEY_PREFIX", "") + "resource:"
        batch: list[Message] = []
        while not stop.is_set():
            following = asyncio.create_task(asyncio.to_thread(self.consumer.consume, BATCH, 0.05))
            if batch:
                touched = await self.apply(store, batch)
                try:
                    # A body that is there, or a lease to fill one, may be older than this batch.
                    if touched:
                        await cache.delete(*(prefix + escaped(id) for id in touched))
                except (RedisError, OSError) as error:
                    print(f"worker.py: cannot fence: {error}", file=sys.stderr)
                last = {(one.topic(), one.partition()): one.offset() for one in batch}
                self.store_offsets([TopicPartition(*place, offset + 1) for place, offset in last.items()])
            batch = []
            for message in await following:
                if message.error() is None:
                    batch.append(message)
                elif message.error().code() != KafkaError._PARTITION_EOF:
                    print(f"worker.py: {message.error()}", file=sys.stderr)
        await asyncio.to_thread(self.consumer.close)
        await store.close()
        await cache.aclose()

    def store_offsets(self, offsets: list[TopicPartition]) -> None:
        for offset in offsets:
            try:
                self.consumer.store_offsets(offsets=[offset])
            except KafkaException as error:  # it went to another worker, which applies the events again
                print(f"worker.py: {offset}: {error}", file=sys.stderr)

    async def apply(self, store: asyncpg.Pool, batch: list[Message]) -> set[str]:
        """Applies a batch; returns its devices. An outage is waited for; other errors end the process."""
        rows, poison = [], []
        for message in batch:
            try:
                rows.append(decode(message))
            except ValueError as error:
                poison.append((message, str(error)))
        for message, reason in poison:
            headers = [*(message.headers() or ()), ("dlq.reason", "undecodable"), ("dlq.error", reason)]
            self.dead_letters.produce(self.dlq, message.value(), message.key(), headers=headers)
        if poison and await asyncio.to_thread(self.dead_letters.flush, 5):
            raise RuntimeError("dead letters were not acknowledged")
        if not rows:
            return set()
        # Sorted by device, so that two transactions lock rows in the same order.
        rows.sort(key=lambda row: row[0])
        while True:
            try:
                async with store.acquire() as connection, connection.transaction():
                    await self.write(connection, rows)
                return {row[0] for row in rows}
            except (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.DeadlockDetectedError,
                    OSError, TimeoutError) as error:
                print(f"worker.py: PostgreSQL: {error!r}", file=sys.stderr)
                await asyncio.sleep(1)

    async def write(self, connection: asyncpg.Connection, rows: list[tuple]) -> None:
        new = await connection.fetch(EVENTS, *zip(*rows), TYPE)
        if len(new) == len(rows):
            fresh = rows
        else:
            left = {tuple(row) for row in new}
            # The loop removes each new event at its first copy.
            fresh = [row for row in rows if row[:2] in left and not left.discard(row[:2])]
        counts, last = Counter(row[0] for row in fresh), {row[0]: row for row in fresh}
        states = [(id, row[2], counts[id], row[1], row[5], *row[7:]) for id, row in last.items()]
        if states:
            await connection.execute(RESOURCES, *zip(*states))


async def main() -> None:
    stop = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    await Worker().run(stop)


if __name__ == "__main__":
    uvloop.run(main())
