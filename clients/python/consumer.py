"""Reads the topic `events-input` with confluent-kafka, and decodes it with the CloudEvents SDK (both interfaces)."""

import json
import os
import traceback
from importlib.metadata import version

from cloudevents.core.bindings import kafka
from cloudevents.v1.kafka import KafkaMessage, from_binary
from confluent_kafka import Consumer, TopicPartition

TOPIC = "events-input"


def records() -> list:
    consumer = Consumer({
        "bootstrap.servers": os.environ["CLIENTS_BROKERS"], "group.id": "clients-python", "enable.auto.commit": False,
    })
    partitions = consumer.list_topics(TOPIC, timeout=30).topics[TOPIC].partitions
    ends = {n: consumer.get_watermark_offsets(TopicPartition(TOPIC, n), timeout=30) for n in partitions}
    consumer.assign([TopicPartition(TOPIC, n, low) for n, (low, high) in ends.items() if low < high])
    left, found = sum(high - low for low, high in ends.values()), []
    while left > 0:
        record = consumer.poll(30)
        if record is None or record.error():
            raise AssertionError(f"{left} records are missing: {record and record.error()}")
        found.append(record)
        left -= 1
    consumer.close()
    return found


def new(record):
    message = kafka.KafkaMessage(headers=dict(record.headers()), key=record.key(), value=record.value())
    event = kafka.from_kafka_event(message)
    return [event.get_subject(), event.get_id(), event.get_type(), event.get_data()]


def old(record):
    event = from_binary(KafkaMessage(dict(record.headers()), record.key(), record.value()))
    return [event["subject"], event["id"], event["type"], event.data]


def decode(mode, read):
    line = {"client": "confluent-kafka, CloudEvents SDK (Python)", "mode": f"reads {TOPIC}{mode}",
            "version": f"{version('confluent-kafka')}, {version('cloudevents')}"}
    try:
        line["read"] = [read(record) for record in records()]
    except Exception as error:  # Whatever a client says is a result.
        traceback.print_exc()
        line["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(line), flush=True)


decode("", new)
decode(" with cloudevents.v1", old)
