"""The checks of an event: what PostgreSQL could not store is refused, as the API in Rust does. No I/O.

An event in ordinary form takes the fast way: msgspec finds the members, one regular expression and two counts exclude
what needs a closer look, and the C scanner of `json` finds repeated keys. Only what remains is looked at in Python.
"""

import json
import math
import re
from datetime import datetime
from typing import Annotated

import msgspec

MAX_PAYLOAD = 256 * 1024
MAX_WRITTEN_OUT = 512 * 1024
MAX_DEPTH = 64
MAX_DIGITS = 64
MAX_EXPONENT = 400
MAX_NUMBER = 512

DEVICE_ID = re.compile(r"[!-~](?:[ -~]{0,126}[!-~])?").fullmatch
EVENT_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}").fullmatch
# An escape, a long number, or a number with an exponent. In a text they do no harm, but cost the slow way.
UNUSUAL = re.compile(rb"\\|[-+.0-9]{18}|[:,\[\s]-?[0-9.]+[eE]").search
NUMBER = re.compile(r"-?([0-9]+(?:\.[0-9]+)?)(?:[eE]([+-]?[0-9]+))?").fullmatch


class NotJson(Exception):
    """The body is not JSON."""


class Invalid(Exception):
    """The body is JSON, and no event: the pointer of a fault, and what is wrong."""

    def __init__(self, pointer: str, detail: str):
        super().__init__(f"{pointer}: {detail}")
        self.pointer, self.detail = pointer, detail


class Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    device_id: str
    payload: msgspec.Raw
    event_id: str | None = None
    occurred_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


DECODE = msgspec.json.Decoder(Event).decode


def parse(body: bytes) -> Event:
    """The event in a body."""
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        event = DECODE(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        _whole(body)
        raise Invalid(path.removesuffix("`").replace(".", "/"), message) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _whole(body)
        # msgspec refuses it, and it is JSON all the same.
        raise Invalid("", "contains a lone surrogate") from None
    if not is_device(event.device_id):
        raise Invalid("/device_id", "must be 1 to 128 printable ASCII characters without a blank at either end")
    if event.event_id is not None and not EVENT_ID(event.event_id):
        raise Invalid("/event_id", "must be 1 to 64 of A-Z a-z 0-9 . _ : -")
    check_payload(bytes(event.payload), body)
    return event


def is_device(text: str) -> bool:
    return bool(DEVICE_ID(text)) and not ("." in text and any(part in (".", "..") for part in text.split("/")))


def check_payload(payload: bytes, around: bytes | None = None) -> None:
    """Refuses a payload that PostgreSQL could not store, or would change. `around` is the whole body, if there is one:
    its keys must not be repeated either."""
    if len(payload) > MAX_PAYLOAD:
        raise Invalid("/payload", f"is larger than {MAX_PAYLOAD} bytes")
    if payload[:1] != b"{":
        raise Invalid("/payload", "must be a JSON object")
    if payload.count(b"{") + payload.count(b"[") > MAX_DEPTH:
        _depth(payload)
    text = payload if around is None else around
    if UNUSUAL(text):
        slow(payload)
    _whole(text)


def _whole(text: bytes) -> None:
    """Refuses a key that is there more than once, and what is no JSON."""
    try:
        PAIRS(text.decode())
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from None


def _unique(pairs: list) -> dict:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Invalid("", "has a key more than once")
    return members


def _no_constant(name: str):
    raise NotJson(f"{name} is no JSON")


PAIRS = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant).decode


def _depth(payload: bytes) -> None:
    depth, text = 0, re.sub(rb'"(?:[^"\\]|\\.)*"', b"", payload)
    for byte in text:
        if byte in b"{[":
            depth += 1
            if depth > MAX_DEPTH:
                raise Invalid("/payload", f"is nested more than {MAX_DEPTH} deep")
        elif byte in b"}]":
            depth -= 1


def slow(payload: bytes) -> None:
    """Looks at every number and every text."""
    written = len(payload) + payload.count(b",") + payload.count(b":")

    def number(text: str) -> None:
        nonlocal written
        mantissa, exponent = NUMBER(text).groups()
        exponent = abs(int(exponent)) if exponent and len(exponent) < 8 else MAX_EXPONENT + 1 if exponent else 0
        written += min(exponent, MAX_EXPONENT)
        if len(text) > MAX_NUMBER:
            raise Invalid("/payload", f"has a number of more than {MAX_NUMBER} characters")
        if exponent > MAX_EXPONENT:
            raise Invalid("/payload", f"has an exponent beyond {MAX_EXPONENT}")
        if sum(map(str.isdigit, mantissa.strip("0."))) > MAX_DIGITS:
            raise Invalid("/payload", f"has a number of more than {MAX_DIGITS} significant digits")
        if not math.isfinite(float(text)):
            raise Invalid("/payload", "has a number that is not finite as an IEEE 754 double")

    def members(pairs: list) -> list:
        return [*pairs]

    decode = json.JSONDecoder(object_pairs_hook=members, parse_int=number, parse_float=number).decode
    try:
        left = [decode(payload.decode())]
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from None
    while left:
        value = left.pop()
        if isinstance(value, str):
            if "\0" in value:
                raise Invalid("/payload", "contains \\u0000")
            if any("\ud800" <= char <= "\udfff" for char in value):
                raise Invalid("/payload", "contains a lone surrogate")
        elif isinstance(value, (list, tuple)):
            left.extend(value)
    if written > MAX_WRITTEN_OUT:
        raise Invalid("/payload", f"is larger than {MAX_WRITTEN_OUT} bytes with its numbers written out")
