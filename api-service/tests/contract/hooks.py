"""What OpenAPI cannot say, so that what Schemathesis sends means what the document means.

Some cases are changed before they are sent, and some are left out; how many is printed at the end.

Changed:
- NDJSON: the schema is that of an array, and an item stands on each line.
- `content-encoding`: the body is packed as the header says, so that none is sent that is not.
- CloudEvents in binary mode: a good event with some `ce-` headers gets those that are missing, and
  its body is the payload alone. Beside another type, or a bad body that is an object and so may be
  a good payload, the `ce-` headers are taken off.
- CloudEvents of advertising: a good one names its campaign and user in the subject alone, as JSON Schema does not
  compare members, and what it says of its value a conversion says.
- Money as a number is written without an exponent.
- `if-match` of a campaign: a good one is `*`, as no generated one names the present revision.
- `from` and `to` of a history or a report: the earlier one is `from`.
- `prefer: handling=lenient` beside a bad body is taken off: it asks for 202 with the reasons in the answer.

Left out: bad headers beside a type other than `application/json` where any is a `ce-` header: such a
header means nothing there, and which header is the bad one is not told.

So what is never tried here: binary mode with a header missing, or with a bad payload that is an
object; a body that is not packed as it says. `tests/it/cloud_events.rs`, `tests/it/encodings.rs` and
the tests of `shared/src/kafka/cloud_events/binary.rs` have those.
"""

import atexit
import collections
import datetime
import gzip
import json

import schemathesis
from requests import PreparedRequest
from requests.auth import AuthBase
from schemathesis.core.parameters import ParameterLocation

COUNTS = collections.Counter()
atexit.register(lambda: print("hooks:", ", ".join(f"{count} {what}" for what, count in sorted(COUNTS.items()))))

BINARY_MODE = {
    "ce-specversion": "1.0",
    "ce-type": "io.edge.device.reported.v1",
    "ce-source": "/devices/device-123",
    "ce-id": "reading-0001",
    "ce-subject": "device-123",
}
AD_EVENTS = ("/ad-events", "/ad-events/batch", "/events/")
MONEY = ("value", "unit_price", "total_budget", "daily_budget")


@schemathesis.serializer("application/x-ndjson", "application/jsonl")
def lines(_, value):
    if isinstance(value, (bytes, str)):  # an example, or not JSON on purpose
        return value.encode() if isinstance(value, str) else value
    # A value that is not an array cannot be written as lines: it becomes a line that is not an event.
    items = value if isinstance(value, list) else [[value]]
    return "".join(json.dumps(item) + "\n" for item in items).encode()


@schemathesis.hook
def filter_case(_, case):
    """A bad `ce-` header means something in binary mode only: beside another type it is passed over."""
    bad_headers = case.meta is not None and case.meta.is_negative_at(ParameterLocation.HEADER)
    left_out = bad_headers and case.media_type != "application/json" and any(map(is_ce, case.headers))
    COUNTS["left out"] += left_out
    return not left_out


@schemathesis.hook
def map_case(_, case):
    """A history or a report ends no earlier than it begins."""
    query = case.query or {}
    try:
        order = sorted([query["from"], query["to"]], key=datetime.datetime.fromisoformat)
    except (KeyError, TypeError, ValueError):  # one is not there, or is bad on purpose
        return case
    query["from"], query["to"] = order
    return case


@schemathesis.hook
def before_call(_, case, kwargs):
    good_body = case.meta is None or not case.meta.is_negative_at(ParameterLocation.BODY)
    good_headers = case.meta is None or not case.meta.is_negative_at(ParameterLocation.HEADER)
    kwargs["auth"] = AsSent(good_body, good_headers)
    COUNTS["sent"] += 1


def is_ce(name: str) -> bool:
    return name.lower().startswith("ce-")


class AsSent(AuthBase):
    """Not for a token: it is where `requests` lets a request be changed last."""

    def __init__(self, good_body: bool, good_headers: bool):
        self.good_body = good_body
        self.good_headers = good_headers

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        if self.good_headers and "/campaigns/" in request.path_url and "if-match" in request.headers:
            request.headers["if-match"] = "*"
        if self.good_body:
            body = meant(body, request.path_url in AD_EVENTS)
        if any(map(is_ce, request.headers)):
            body = self.binary_mode(request, body)
        if not self.good_body and request.headers.get("prefer", "").startswith("handling=lenient"):
            COUNTS["sent without Prefer"] += 1
            del request.headers["prefer"]
        if body and request.headers.get("content-encoding") == "gzip":
            body = gzip.compress(body)
        if body and request.headers.get("content-encoding") == "zstd":
            body = zstd_frame(body)
        if body != request.body:
            request.prepare_body(body, None)
        return request

    def binary_mode(self, request: PreparedRequest, body: bytes) -> bytes:
        plain = request.headers.get("content-type") == "application/json"
        if plain and (self.good_body or not is_object(body)):
            COUNTS["made whole as CloudEvents"] += 1
            if request.path_url in AD_EVENTS:
                return self.ad_in_binary_mode(request, body)
            for name, value in BINARY_MODE.items():
                request.headers.setdefault(name, value)
            return json.dumps(json.loads(body)["payload"]).encode() if self.good_body else body
        COUNTS["sent without their ce- headers"] += 1
        # An invalid event may be a valid payload, and with another type these headers have no effect.
        for name in list(filter(is_ce, request.headers)):
            del request.headers[name]
        return body


    def ad_in_binary_mode(self, request: PreparedRequest, body: bytes) -> bytes:
        event = json.loads(body) if self.good_body else {}
        kind, campaign, user = (event.get(name) for name in ("event_type", "campaign_id", "user_id"))
        request.headers["ce-type"] = f"io.edge.ad.{kind or 'click'}.v1"
        request.headers["ce-subject"] = f"{campaign or 1}:{user or 'user-1'}"
        for name, value in BINARY_MODE.items():
            request.headers.setdefault(name, value)
        if not self.good_body:
            return body
        of_data = ("value", "impression_id", "click_id", "user_agent")
        return json.dumps({name: event[name] for name in of_data if name in event}).encode()


def meant(body: bytes | None, is_ads: bool) -> bytes | None:
    """A good body with what OpenAPI cannot say."""
    try:
        content = json.loads(body or b"")
    except ValueError:  # lines, or none
        return body
    changed = False
    for item in content if isinstance(content, list) else [content]:
        if not isinstance(item, dict):
            continue
        data = item.get("data") if is_ads and "specversion" in item else None
        for name in ("campaign_id", "user_id", "event_type") if isinstance(data, dict) else ():
            changed |= data.pop(name, None) is not None
        if is_ads and item.get("value") is not None and item.get("event_type") not in (None, "conversion"):
            item["event_type"], changed = "conversion", True
        if isinstance(data, dict) and data.get("value") is not None:
            item["type"], changed = "io.edge.ad.conversion.v1", True
        for place in (item, data if isinstance(data, dict) else {}):
            for name in MONEY:
                if isinstance(place.get(name), float) and "e" in repr(place[name]):
                    place[name], changed = 1.5, True
    return json.dumps(content).encode() if changed else body


def is_object(body: bytes | None) -> bool:
    try:
        return isinstance(json.loads(body or b""), dict)
    except ValueError:
        return False


def zstd_frame(content: bytes) -> bytes:
    """A frame of raw blocks (RFC 8878): valid, and nothing is compressed."""
    header = bytes.fromhex("28b52ffd") + b"\xa0" + len(content).to_bytes(4, "little")
    blocks = [content[at : at + 0x1FFFF] for at in range(0, len(content), 0x1FFFF)]
    framed = b""
    for number, block in enumerate(blocks, 1):
        framed += (len(block) << 3 | (number == len(blocks))).to_bytes(3, "little") + block
    return header + framed
