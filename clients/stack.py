"""The API and the worker beside the servers of `devstack exec`, and reads of what was posted."""

import contextlib
import json
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).parents[1]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARIES = pathlib.Path(os.environ.get("DEVSTACK_BINARIES", TARGET / "debug"))
CLIENTS = TARGET / "clients"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Stack:
    def __init__(self, url: str, token: str, brokers: str):
        self.url, self.token, self.brokers = url, token, brokers

    def get(self, device: str, more: str = "") -> dict | None:
        """GET /resource/{id}; None if there is none."""
        path = f"{self.url}/resource/{urllib.parse.quote(device, safe='')}{more}"
        request = urllib.request.Request(path, headers={"authorization": f"Bearer {self.token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def count(self, device: str) -> int:
        """How many events the device's history has, up to 1,000."""
        history = self.get(device, "/events?limit=1000")
        return len(history["items"]) if history else 0

    def wait_for(self, device: str, wanted, seconds: float = 20):
        """Reads the device until `wanted` says yes to its payload, and answers the last one read."""
        until = time.monotonic() + seconds
        while True:
            state = self.get(device)
            found = state and state["payload"]
            if (found is not None and wanted(found)) or time.monotonic() > until:
                return found
            time.sleep(0.1)


def wait_until_ready(url: str, services: list[subprocess.Popen]) -> None:
    for _ in range(600):
        if any(service.poll() is not None for service in services):
            sys.exit("clients: a service ended, see target/clients/*.log")
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                if json.load(answer)["status"] == "ready":
                    return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            pass
        time.sleep(0.1)
    sys.exit(f"clients: {url} is not ready after a minute")


@contextlib.contextmanager
def running(more: dict[str, str]):
    """Starts both services with these further settings, and ends them."""
    at = json.loads(os.environ["DEVSTACK"])
    env = os.environ | {
        "KAFKA_BROKERS": at["kafka_brokers"], "DATABASE_URL": at["postgres_url"], "REDIS_URL": at["redis_url"],
        "TOPIC_REPLICATION": "1", "TOPIC_MIN_INSYNC_REPLICAS": "1", "JWT_SECRET": secrets.token_hex(32),
        "LOG_FORMAT": "json",
    } | more
    port, services = free_port(), []
    url = f"http://127.0.0.1:{port}"
    subprocess.run([BINARIES / "worker-service", "setup"], env=env, check=True, stdout=subprocess.DEVNULL)
    try:
        for name, args, settings in [
            ("worker-service", ["run"], {}), ("api-service", [], {"API_BIND": f"127.0.0.1:{port}"}),
        ]:
            with open(CLIENTS / f"{name}.log", "wb") as log:
                services.append(subprocess.Popen(
                    [BINARIES / name, *args], stdout=log, stderr=subprocess.STDOUT,
                    env=env | settings | {"OPS_BIND": f"127.0.0.1:{free_port()}"},
                ))
        wait_until_ready(f"{url}/health/ready", services)
        token = subprocess.run(
            [BINARIES / "devstack", "token", "--subject", "clients", "--role", "admin"],
            env=env, check=True, capture_output=True, text=True,
        ).stdout.strip()
        yield Stack(url, token, at["kafka_brokers"])
        if any(service.poll() is not None for service in services):
            sys.exit("clients: a service ended, see target/clients/*.log")
    finally:
        for service in services:
            service.terminate()
        for service in services:
            service.wait(30)
