"""The CloudEvents SDK for Python, both of its interfaces."""

from importlib.metadata import version

import requests
from cloudevents.core.bindings import http as binding
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1.http import CloudEvent as OldEvent
from cloudevents.v1.conversion import to_binary as old_binary, to_structured as old_structured
from report import AUTHORIZED, TYPE, URL, attempt, expect, payload

CLIENT, VERSION = "CloudEvents SDK (Python)", version("cloudevents")


def attributes(device: str, number: int = 1) -> dict:
    return {
        "specversion": "1.0", "id": f"{device}-{number}", "source": "/clients", "type": TYPE, "subject": device,
        "datacontenttype": "application/json", "note": "100% größer",
    }


def post(path: str, headers: dict, body: bytes) -> None:
    answer = requests.post(URL + path, headers=AUTHORIZED | headers, data=body, timeout=30)
    expect(answer.status_code, 202, answer.text)


def binary(device):
    message = binding.to_binary_event(CloudEvent(attributes(device), payload()))
    post("/events", message.headers, message.body)
    return {device: payload()}


def structured(device):
    message = binding.to_structured_event(CloudEvent(attributes(device), payload()))
    post("/events", message.headers, message.body)
    return {device: payload()}


def batched(device):
    """The SDK has no batch: an array of the events that it writes."""
    sent = {f"{device}-{n}": payload(n) for n in range(3)}
    events = [JSONFormat().write(CloudEvent(attributes(name), data)) for name, data in sent.items()]
    body = b"[" + b",".join(events) + b"]"
    post("/events/batch", {"content-type": "application/cloudevents-batch+json"}, body)
    return sent


def old(write):
    def run(device):
        headers, body = write(OldEvent(attributes(device), payload()))
        post("/events", headers, body)
        return {device: payload()}

    return run


attempt(CLIENT, VERSION, "binary", binary)
attempt(CLIENT, VERSION, "structured", structured)
attempt(CLIENT, VERSION, "batched", batched)
attempt(CLIENT, VERSION, "cloudevents.v1: binary", old(old_binary))
attempt(CLIENT, VERSION, "cloudevents.v1: structured", old(old_structured))
