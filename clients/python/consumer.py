"""Reads a topic with confluent-kafka, `events-input` if no other is named, and decodes it with the CloudEvents SDK, by
both of its interfaces."""

import json
import os
import sys
import traceback
from importlib.metadata import version

from cloudevents.core.bindings import kafka
from cloudevents.v1.kafka import KafkaMessage, from_binary
from confluent_kafka import Consumer, KafkaError, TopicPartition

TOPIC = (sys.argv[1:] or ["events-input"])[0]


def records() -> list:
    """Up to the end of each partition. Transactions leave offsets without a record."""
    consumer = Consumer({
        "bootstrap.servers": os.environ["CLIENTS_BROKERS"], "group.id": "clients-python", "enable.auto.commit": False,
        "enable.partition.eof": True,
    })
    partitions = consumer.list_topics(TOPIC, timeout=30).topics[TOPIC].partitions
    consumer.assign([TopicPartition(TOPIC, n, 0) for n in partitions])
    left, found = len(partitions), []
    while left > 0:
        record = consumer.poll(30)
        if record is None:
            raise AssertionError(f"the ends of {left} partitions are missing")
        if record.error() and record.error().code() == KafkaError._PARTITION_EOF:
            left -= 1
        elif record.error():
            raise AssertionError(record.error())
        else:
            found.append(record)
    consumer.close()
    return found


def new(record):
    message = kafka.KafkaMessage(headers=dict(record.headers()), key=record.key(), value=record.value())
    event = kafka.from_kafka_event(message)
    more = {name: event.get_extension(name) for name in ("partitionkey", "sequence", "correlationid", "causationid")}
    return [event.get_subject(), event.get_id(), event.get_type(), event.get_data(), more]


def old(record):
    event = from_binary(KafkaMessage(dict(record.headers()), record.key(), record.value()))
    more = {name: event.get(name) for name in ("partitionkey", "sequence", "correlationid", "causationid")}
    # This one takes the record's key, as bytes, for the attribute.
    more["partitionkey"] = more["partitionkey"].decode()
    return [event["subject"], event["id"], event["type"], event.data, more]


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
