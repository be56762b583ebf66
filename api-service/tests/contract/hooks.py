"""What OpenAPI cannot say, so that what Schemathesis sends means what the document means.

Nothing here leaves out a finding: cases are made whole before they are sent.

- NDJSON: the schema is that of an array, and an item stands on each line.
- `content-encoding`: the body has to be packed as the header says.
- CloudEvents in binary mode: the `ce-` headers go together, and the body is the payload alone.
"""

import gzip
import json

import schemathesis
from requests import PreparedRequest
from requests.auth import AuthBase
from schemathesis.core.parameters import ParameterLocation

BINARY_MODE = {
    "ce-specversion": "1.0",
    "ce-type": "io.edge.device.reported.v1",
    "ce-source": "/devices/device-123",
    "ce-id": "reading-0001",
    "ce-subject": "device-123",
}


@schemathesis.serializer("application/x-ndjson", "application/jsonl")
def lines(_, value):
    if isinstance(value, (bytes, str)):  # an example, or not JSON on purpose
        return value.encode() if isinstance(value, str) else value
    # What is no array cannot be written as lines: it goes as a line that is no event.
    items = value if isinstance(value, list) else [[value]]
    return "".join(json.dumps(item) + "\n" for item in items).encode()


@schemathesis.hook
def filter_case(_, case):
    """A bad `ce-` header means something in binary mode only: beside another type it is passed over."""
    bad_headers = case.meta is not None and case.meta.is_negative_at(ParameterLocation.HEADER)
    return not (bad_headers and case.media_type != "application/json" and any(map(is_ce, case.headers)))


@schemathesis.hook
def before_call(_, case, kwargs):
    good_body = case.meta is None or not case.meta.is_negative_at(ParameterLocation.BODY)
    kwargs["auth"] = AsSent(good_body)


def is_ce(name: str) -> bool:
    return name.lower().startswith("ce-")


class AsSent(AuthBase):
    """Not for a token: it is where `requests` lets a request be changed last."""

    def __init__(self, good_body: bool):
        self.good_body = good_body

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        if any(map(is_ce, request.headers)):
            body = self.binary_mode(request, body)
        if body and request.headers.get("content-encoding") == "gzip":
            body = gzip.compress(body)
        if body and request.headers.get("content-encoding") == "zstd":
            body = zstd_frame(body)
        if body != request.body:
            request.prepare_body(body, None)
        return request

    def binary_mode(self, request: PreparedRequest, body: bytes) -> bytes:
        if self.good_body and request.headers.get("content-type") == "application/json":
            for name, value in BINARY_MODE.items():
                request.headers.setdefault(name, value)
            return json.dumps(json.loads(body)["payload"]).encode()
        # Beside a body that is no event, or is a whole CloudEvent, they would only hide what is meant.
        for name in list(filter(is_ce, request.headers)):
            del request.headers[name]
        return body


def zstd_frame(content: bytes) -> bytes:
    """A frame of raw blocks (RFC 8878): valid, and nothing is compressed."""
    header = bytes.fromhex("28b52ffd") + b"\xa0" + len(content).to_bytes(4, "little")
    blocks = [content[at : at + 0x1FFFF] for at in range(0, len(content), 0x1FFFF)]
    framed = b""
    for number, block in enumerate(blocks, 1):
        framed += (len(block) << 3 | (number == len(blocks))).to_bytes(3, "little") + block
    return header + framed
