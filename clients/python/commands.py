"""curl, wget and HTTPie as commands, and a connection written by hand for pipelining."""

import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.parse

from report import JSON, TOKEN, TOO_LARGE, URL, attempt, event, expect, payload

BEARER = f"Authorization: Bearer {TOKEN}"
CONTENT = "Content-Type: application/json"
HTTP = pathlib.Path(sys.executable).parent / "http"


def run(*command, **more) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)


def version(*command) -> str:
    return re.search(r"\d+\.\d+[.\d]*", run(*command).stdout)[0]


def curl(device, *options, statuses="202", data=None):
    command = ["curl", "--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_code}\n",
               "-H", BEARER, "-H", CONTENT, *options]
    done = run(*command, "--data-binary", json.dumps(data or event(device)), f"{URL}/events")
    if done.returncode or done.stdout.split() != statuses.split():
        raise AssertionError(f"exit status {done.returncode}, {done.stdout.split()}: {done.stderr.strip()}")
    return {device: payload()}


def curl_keep_alive(device):
    """One process, one connection, three POSTs: curl says how many connections it opened for each."""
    one = ["-s", "-o", "/dev/null", "-w", "%{http_code}:%{num_connects}\n", "-H", BEARER, "-H", CONTENT]
    command = ["curl"]
    for number in range(3):
        command += ["--next"] if number else []
        command += [*one, "--data-binary", json.dumps(event(device, number)), f"{URL}/events"]
    done = run(*command)
    expect(done.stdout.split(), ["202:1", "202:0", "202:0"], done.stderr)
    return {device: payload(2)}


def curl_expect_large(device):
    """curl asks by itself before a body of 1 MiB or more (a batch), and waits a second for the answer."""
    sent = {f"{device}-{n}": payload(n) | {"x": "y" * 200_000} for n in range(6)}
    with tempfile.NamedTemporaryFile("w") as file:
        json.dump([{"device_id": name, "payload": data} for name, data in sent.items()], file)
        file.flush()
        done = run("curl", "-s", "-v", "-o", "/dev/null", "-H", BEARER, "-H", CONTENT,
                   "--data-binary", f"@{file.name}", f"{URL}/events/batch")
    if "< HTTP/1.1 100 Continue" not in done.stderr or "< HTTP/1.1 202" not in done.stderr:
        raise AssertionError(done.stderr[-400:])
    return sent


def curl_too_large(*options):
    def mode(_device):
        with tempfile.NamedTemporaryFile() as file:
            file.write(TOO_LARGE)
            file.flush()
            done = run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", BEARER, "-H", CONTENT,
                       *options, "--data-binary", f"@{file.name}", f"{URL}/events")
        expect((done.returncode, done.stdout), (0, "413"), done.stderr)

    return mode


def curl_http2(_device):
    """The API speaks HTTP/1.1: curl has to end with an error at once, not wait."""
    done = run("curl", "-sS", "-m", "10", "--http2-prior-knowledge", "-H", BEARER, f"{URL}/health/live")
    if done.returncode in (0, 28):
        raise AssertionError(f"exit status {done.returncode}: {done.stderr.strip()}")


def wget(device):
    done = run("wget", "-q", "-O", "-", "--header", BEARER, "--header", CONTENT,
               "--post-data", json.dumps(event(device)), f"{URL}/events")
    expect(done.returncode, 0, done.stderr)
    expect(json.loads(done.stdout)["status"], "accepted")
    return {device: payload()}


def wget_problem(_device):
    """--content-on-error shows the problem document (but never that of a 401)."""
    done = run("wget", "-q", "-O", "-", "--content-on-error", "--header", BEARER, "--header", CONTENT,
               "--post-data", "{}", f"{URL}/events")
    expect(json.loads(done.stdout)["status"], 422)


def httpie(device):
    done = run(str(HTTP), "--ignore-stdin", "--check-status", "--body", "-A", "bearer", "-a", TOKEN,
               f"{URL}/events", f"device_id={device}", f"payload:={json.dumps(payload())}")
    expect(done.returncode, 0, done.stdout + done.stderr)
    return {device: payload()}


def httpie_compressed(device):
    done = run(str(HTTP), "--compress", "--compress", "--check-status", "--body", "-A", "bearer", "-a", TOKEN,
               "POST", f"{URL}/events", CONTENT.replace(": ", ":"), input=json.dumps(event(device)))
    # HTTPie compresses with deflate, which the API does not take, and says so.
    expect(done.returncode, 4, done.stdout + done.stderr)
    expect(json.loads(done.stdout)["status"], 415)


def pipelining(device):
    """Ten requests are written before any answer is read; the answers come in order, and the last one closes."""
    at = urllib.parse.urlsplit(URL)
    wire = b""
    for number in range(10):
        body = json.dumps(event(device, number)).encode()
        lines = [f"{name}: {value}" for name, value in JSON.items()]
        lines += [f"host: {at.netloc}", f"content-length: {len(body)}", f"x-request-id: pipelined-{number}"]
        lines += ["connection: close"] if number == 9 else []
        wire += "\r\n".join(["POST /events HTTP/1.1", *lines, "", ""]).encode() + body
    with socket.create_connection((at.hostname, at.port), timeout=30) as connection:
        connection.sendall(wire)
        answers = b""
        while part := connection.recv(65536):
            answers += part
    expect(re.findall(rb"HTTP/1.1 (\d+)", answers), [b"202"] * 10, answers)
    expect(re.findall(rb'"event_id":"[^"]*-(\d)"', answers), [b"%d" % n for n in range(10)], answers)
    return {device: payload(9)}


if shutil.which("curl"):
    found = version("curl", "--version")
    attempt("curl", found, "one POST", curl)
    attempt("curl", found, "Expect: 100-continue", lambda d: curl(d, "-H", "Expect: 100-continue"))
    attempt("curl", found, "Expect: (none)", lambda d: curl(d, "-H", "Expect:"))
    attempt("curl", found, "HTTP/1.0", lambda d: curl(d, "--http1.0"))
    attempt("curl", found, "keep-alive, 3 POSTs", curl_keep_alive)
    attempt("curl", found, "1.2 MB: 100 Continue, then 202", curl_expect_large)
    attempt("curl", found, "20 MB: reads the 413", curl_too_large())
    attempt("curl", found, "20 MB without Expect: reads the 413", curl_too_large("-H", "Expect:"))
    attempt("curl", found, "HTTP/2 with prior knowledge: an error at once", curl_http2)
if shutil.which("wget"):
    found = version("wget", "--version")
    attempt("wget", found, "one POST", wget)
    attempt("wget", found, "reads a problem", wget_problem)
found = run(str(HTTP), "--version").stdout.strip()
attempt("HTTPie", found, "one POST", httpie)
attempt("HTTPie", found, "deflate: reads the 415", httpie_compressed)
attempt("a socket", "HTTP/1.1", "pipelining, 10 POSTs", pipelining)
