"""The API in Python: `POST /events` and `GET /resource/{id}`, as fast as FastAPI, uvloop and librdkafka go.

One process; start it twice on one port, the kernel divides the connections. The settings are those of the API in Rust.
"""

import asyncio
import os
import re
import socket
import sys
import time
from datetime import datetime, timezone
from functools import partial
from urllib.parse import urlsplit

import asyncpg
import jwt
import msgspec
import redis.asyncio
import uvicorn
from confluent_kafka import KafkaError, Producer
from fastapi import FastAPI, Request
from fastapi.responses import Response
from uuid_utils import uuid7

import checks
from cache import Cache, escaped

MAX_BODY = (256 + 4) * 1024
MAX_DRAINED = 8 * 1024 * 1024
LEEWAY = 30
REMEMBER = 60
TOPIC = os.environ["KAFKA_INPUT_TOPIC"]
SECRET = os.environ["JWT_SECRET"]
REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}").fullmatch
TRACE = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
WRITERS, READERS = frozenset({"admin"}), frozenset({"admin", "user"})


class Problem(Exception):
    """An answer that is an error: RFC 9457."""

    def __init__(self, status: int, code: str, detail: str, **more):
        super().__init__(detail)
        self.status, self.code, self.detail, self.more = status, code, detail, more

    def response(self, request_id: str) -> Response:
        body = {"type": "about:blank", "title": self.detail, "status": self.status, "detail": self.detail,
                "code": self.code, "request_id": request_id} | self.more
        headers = {"x-request-id": request_id}
        if self.status == 401:
            headers["www-authenticate"] = 'Bearer error="invalid_token"'
        if self.status == 503:
            headers["retry-after"] = "1"
        return Response(msgspec.json.encode(body), self.status, headers, "application/problem+json")


class Caller(msgspec.Struct):
    """The caller of a valid token."""

    subject: str
    roles: frozenset[str]
    devices: frozenset[str] | None
    until: float


# Tokens verified lately, by the whole header. Only valid ones, so nobody can fill it without one.
verified: dict[bytes, Caller] = {}


def strings(claims: dict, name: str) -> list[str] | None:
    value = claims.get(name)
    if isinstance(value, str):
        return value.split() if name == "roles" else [value]
    if value is None or isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    raise Problem(401, "invalid_token", f"the claim {name} must be a string or a list of strings")


def caller(headers: dict, unbound: frozenset[str]) -> Caller:
    """The caller of a request, who has one of these roles or is a device: 401, 403."""
    header, now = headers.get(b"authorization", b""), time.time()
    found = verified.get(header)
    if found is None or found.until <= now:
        scheme, _, token = header.partition(b" ")
        if scheme.lower() != b"bearer":
            raise Problem(401, "invalid_token", "the request has no token")
        try:
            options = {"require": ["exp", "sub"], "verify_aud": False, "verify_iat": False}
            claims = jwt.decode(token.strip(), SECRET, ["HS256"], options, leeway=LEEWAY)
        except (jwt.PyJWTError, ValueError) as error:
            raise Problem(401, "invalid_token", str(error)) from None
        if not 1 <= len(claims["sub"].encode()) <= 256 or any(char < " " or char == "\x7f" for char in claims["sub"]):
            raise Problem(401, "invalid_token", "sub must be 1 to 256 bytes without control characters")
        devices = strings(claims, "device_id")
        until = min(claims["exp"] + LEEWAY, now + REMEMBER)
        found = Caller(claims["sub"], frozenset(strings(claims, "roles") or ()),
                       None if devices is None else frozenset(devices), until)
        if len(verified) >= 16_384:
            verified.clear()
        verified[header] = found
    if not found.roles & unbound and ("device" not in found.roles or found.devices is None):
        raise Problem(403, "forbidden", "the token does not allow this")
    return found


def allow(who: Caller, unbound: frozenset[str], device: str) -> None:
    if not who.roles & unbound and device not in who.devices:
        raise Problem(403, "device_not_allowed", "the token does not name this device")


def request_id(headers: dict) -> str:
    given = headers.get(b"x-request-id")
    return given.decode() if given and REQUEST_ID(given) else str(uuid7())


async def read_body(request: Request, headers: dict) -> bytes:
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        raise Problem(415, "unsupported_media_type", "the content type must be application/json")
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise Problem(415, "unsupported_encoding", "the body must not be encoded")
    length = headers.get(b"content-length")
    if length is not None and int(length) <= MAX_BODY:
        return await request.body()
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size <= MAX_BODY:
            parts.append(part)
        elif size > MAX_DRAINED:
            break
    # Read to its end, as far as that is reasonable, so that a client that reads late finds the answer.
    if size > MAX_BODY:
        raise Problem(413, "body_too_large", f"a body may have {MAX_BODY} bytes")
    return b"".join(parts)


class Kafka:
    """librdkafka without another thread of Python: the event loop takes the reports, a millisecond after the last time,
    while events are under way."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self.loop, self.under_way, self.is_polling = loop, 0, False
        self.producer = Producer({
            "bootstrap.servers": os.environ["KAFKA_BROKERS"],
            "client.id": "peer-python",
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": float(os.environ.get("KAFKA_LINGER_MS", "2")),
            "partitioner": "murmur2_random",
            "message.timeout.ms": 5_000,
            "message.max.bytes": 1_048_576,
            "topic.metadata.refresh.interval.ms": 10_000,
            "queue.buffering.max.kbytes": 65_536,
            "queue.buffering.max.messages": 65_536,
        })

    def send(self, key: str, value: bytes, headers: list) -> asyncio.Future:
        """Hands a record over; the future has the broker's error, or None once all in-sync replicas have it."""
        report = self.loop.create_future()
        try:
            self.producer.produce(TOPIC, value, key, headers=headers, on_delivery=partial(self.delivered, report))
        except BufferError:
            raise Problem(503, "queue_full", "the queue for Kafka is full") from None
        self.under_way += 1
        if not self.is_polling:
            self.is_polling = True
            self.loop.call_later(0.001, self.poll)
        return report

    def delivered(self, report: asyncio.Future, error: KafkaError | None, _message) -> None:
        self.under_way -= 1
        if not report.done():
            report.set_result(error)

    def poll(self) -> None:
        self.producer.poll(0)
        self.is_polling = self.under_way > 0
        if self.is_polling:
            self.loop.call_later(0.001, self.poll)


async def post_event(request: Request) -> Response:
    headers = dict(request.scope["headers"])
    id = request_id(headers)
    try:
        who = caller(headers, WRITERS)
        body = await read_body(request, headers)
        try:
            event = checks.parse(body)
        except checks.NotJson as error:
            raise Problem(400, "not_json", str(error)) from None
        except checks.Invalid as error:
            faults = [{"pointer": error.pointer, "detail": error.detail}]
            raise Problem(422, "invalid_event", "the body is no valid event", errors=faults) from None
        allow(who, WRITERS, event.device_id)
        event_id = event.event_id or str(uuid7())
        accepted_at = datetime.now(timezone.utc).isoformat()
        record = [
            ("ce_specversion", b"1.0"),
            ("ce_type", b"io.edge.device.reported.v1"),
            ("ce_source", "/devices/" + escaped(event.device_id)),
            ("ce_id", event_id),
            ("ce_subject", event.device_id),
            ("ce_time", event.occurred_at.isoformat() if event.occurred_at else accepted_at),
            ("ce_acceptedat", accepted_at),
            ("content-type", b"application/json"),
            ("ce_requestid", id),
            ("ce_userid", who.subject),
            ("ce_correlationid", id),
        ]
        trace = headers.get(b"traceparent")
        if trace is not None and TRACE(trace):
            record.append(("traceparent", trace))
        error = await kafka.send(event.device_id, bytes(event.payload), record)
        if error is not None:
            raise Problem(503, "outcome_unknown", "send it again with this event_id", event_id=event_id)
    except Problem as problem:
        return problem.response(id)
    answer = f'{{"request_id":"{id}","status":"accepted","event_id":"{event_id}"}}'
    return Response(answer, 202, {"x-request-id": id}, "application/json")


async def get_resource(request: Request) -> Response:
    headers = dict(request.scope["headers"])
    id = request_id(headers)
    try:
        who = caller(headers, READERS)
        device = request.path_params["id"]
        if not checks.is_device(device):
            raise Problem(404, "resource_not_found", "the id in the path is none of a device")
        allow(who, READERS, device)
        try:
            body, source = await cache.get(device)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            raise Problem(503, "store_unavailable", "try again later") from None
        if body.startswith(b'{"version":0}'):
            raise Problem(404, "resource_not_found", "there is no such resource")
    except Problem as problem:
        return problem.response(id)
    version, updated_at = body[11 : body.index(b",", 11)], body[:-2].rpartition(b'"')[2]
    tag = f'"{version.decode()}-{updated_at.decode()}"'
    answer = {"etag": tag, "cache-control": "private, no-cache", "cache-status": source, "x-request-id": id}
    known = headers.get(b"if-none-match", b"").decode("latin-1")
    if known and any(one.strip().removeprefix("W/") in ("*", tag) for one in known.split(",")):
        return Response(None, 304, answer)
    return Response(body, 200, answer, "application/json")


def listener(bind: str) -> socket.socket:
    address = urlsplit(f"//{bind}")
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    found.bind((address.hostname, address.port))
    found.listen(1024)
    return found


async def main() -> None:
    global kafka, cache
    kafka = Kafka(asyncio.get_running_loop())
    store = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=5, command_timeout=5)
    # hiredis parses the answers, since it is installed.
    client = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=1)
    cache = Cache(client, store, os.environ.get("CACHE_KEY_PREFIX", ""), float(os.environ.get("CACHE_TTL_SECONDS", "60")))
    app = FastAPI(openapi_url=None)
    # Routes of Starlette, which FastAPI is made of: without dependency injection, which these handlers do not use.
    app.add_route("/events", post_event, methods=["POST"])
    app.add_route("/resource/{id:path}", get_resource, methods=["GET"])
    config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", access_log=False, log_level="warning",
                            server_header=False)
    await uvicorn.Server(config).serve(sockets=[listener(os.environ["API_BIND"])])
    kafka.producer.flush(5)
    await store.close()
    await client.aclose()


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    import uvloop

    uvloop.run(main())
