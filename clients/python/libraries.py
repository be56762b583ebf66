"""The HTTP libraries of Python: requests, httpx, aiohttp, and http.client of the standard library."""

import asyncio
import http.client
import json
import platform
import time
import urllib.parse

import aiohttp
import httpx
import requests
from report import AUTHORIZED, JSON, TOO_LARGE, URL, attempt, event, expect, payload


def with_requests(device):
    answer = requests.post(f"{URL}/events", json=event(device), headers=AUTHORIZED, timeout=30)
    expect(answer.status_code, 202, answer.text)
    return {device: payload()}


def requests_keep_alive(device):
    with requests.Session() as session:
        session.headers.update(AUTHORIZED)
        for number in range(20):
            answer = session.post(f"{URL}/events", json=event(device, number), timeout=30)
            expect(answer.status_code, 202, answer.text)
    return {device: payload(19)}


def requests_chunked(device):
    """A generator as the body: transfer-encoding chunked, no content-length."""
    parts = (part.encode() for part in json.dumps(event(device)))
    answer = requests.post(f"{URL}/events", data=parts, headers=JSON, timeout=30)
    expect(answer.status_code, 202, answer.text)
    return {device: payload()}


def requests_too_large(_device):
    answer = requests.post(f"{URL}/events", data=TOO_LARGE, headers=JSON, timeout=30)
    expect(answer.status_code, 413, answer.text)


def requests_not_modified(device):
    """The ETag of one read is good for the next one, once the worker has applied the event."""
    sent = with_requests(device)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        first = requests.get(f"{URL}/resource/{device}", headers=AUTHORIZED, timeout=30)
        if first.status_code == 200:
            break
    expect(first.status_code, 200, first.text)
    tag = AUTHORIZED | {"if-none-match": first.headers["etag"]}
    expect(requests.get(f"{URL}/resource/{device}", headers=tag, timeout=30).status_code, 304)
    return sent


def requests_odd_name(device):
    """A name of a device that has to be percent-encoded in a path."""
    name = f"{device}/line 1@[a]{{b}}+49#4"
    answer = requests.post(f"{URL}/events", json={**event(device), "device_id": name}, headers=AUTHORIZED, timeout=30)
    expect(answer.status_code, 202, answer.text)
    return {name: payload()}


def httpx_keep_alive(device):
    with httpx.Client(headers=AUTHORIZED, timeout=30) as client:
        for number in range(20):
            answer = client.post(f"{URL}/events", json=event(device, number))
            expect(answer.status_code, 202, answer.text)
    return {device: payload(19)}


def httpx_http2_offered(device):
    """Without TLS httpx stays with HTTP/1.1, also when HTTP/2 is allowed."""
    with httpx.Client(http1=True, http2=True, headers=AUTHORIZED, timeout=30) as client:
        answer = client.post(f"{URL}/events", json=event(device))
        expect(answer.status_code, 202, answer.text)
    return {device: payload()}


def httpx_too_large(_device):
    answer = httpx.post(f"{URL}/events", content=TOO_LARGE, headers=JSON, timeout=30)
    expect(answer.status_code, 413, answer.text)


def with_aiohttp(body):
    def run(device):
        async def session():
            async with aiohttp.ClientSession(headers=AUTHORIZED) as client:
                return await body(client, device)

        return asyncio.run(session())

    return run


async def aiohttp_keep_alive(client, device):
    for number in range(20):
        async with client.post(f"{URL}/events", json=event(device, number)) as answer:
            expect(answer.status, 202, await answer.text())
    return {device: payload(19)}


async def aiohttp_many_at_once(client, device):
    async def one(number):
        name = f"{device}-{number}"
        async with client.post(f"{URL}/events", json=event(name, number)) as answer:
            expect(answer.status, 202, await answer.text())
        return name, payload(number)

    return dict(await asyncio.gather(*(one(number) for number in range(50))))


async def aiohttp_expect(client, device):
    async with client.post(f"{URL}/events", json=event(device), expect100=True) as answer:
        expect(answer.status, 202, await answer.text())
    return {device: payload()}


async def aiohttp_gzip(client, device):
    async with client.post(f"{URL}/events", json=event(device), compress="gzip") as answer:
        expect(answer.status, 202, await answer.text())
    return {device: payload()}


async def aiohttp_too_large(client, _device):
    async with client.post(f"{URL}/events", data=TOO_LARGE, headers=JSON) as answer:
        expect(answer.status, 413, await answer.text())


def standard_library(device):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(URL).netloc, timeout=30)
    for number in range(3):
        connection.request("POST", "/events", json.dumps(event(device, number)), JSON)
        answer = connection.getresponse()
        expect(answer.status, 202, answer.read())
    return {device: payload(2)}


for mode, run in [
    ("one POST", with_requests), ("keep-alive, 20 POSTs", requests_keep_alive), ("chunked body", requests_chunked),
    ("20 MB: reads the 413", requests_too_large), ("If-None-Match: 304", requests_not_modified),
    ("a name with / @ [ ] # and blanks", requests_odd_name),
]:
    attempt("requests", requests.__version__, mode, run)
for mode, run in [
    ("keep-alive, 20 POSTs", httpx_keep_alive), ("HTTP/2 allowed", httpx_http2_offered),
    ("20 MB: reads the 413", httpx_too_large),
]:
    attempt("httpx", httpx.__version__, mode, run)
for mode, body in [
    ("keep-alive, 20 POSTs", aiohttp_keep_alive), ("50 POSTs at once", aiohttp_many_at_once),
    ("Expect: 100-continue", aiohttp_expect), ("gzip", aiohttp_gzip), ("20 MB: reads the 413", aiohttp_too_large),
]:
    attempt("aiohttp", aiohttp.__version__, mode, with_aiohttp(body))
attempt("http.client (Python)", platform.python_version(), "keep-alive, 3 POSTs", standard_library)
