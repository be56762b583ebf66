"""Starts the services beside the servers of `devstack exec`, and runs Schemathesis against the API.

CONTRACT_SECONDS is how long (180), CONTRACT_SEED begins as another run did.
"""

import json
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARIES = pathlib.Path(os.environ.get("DEVSTACK_BINARIES", TARGET / "debug"))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment() -> dict[str, str]:
    at = json.loads(os.environ["DEVSTACK"])
    return os.environ | {
        "KAFKA_BROKERS": at["kafka_brokers"],
        "DATABASE_URL": at["postgres_url"],
        "REDIS_URL": at["redis_url"],
        "TOPIC_REPLICATION": "1",
        "TOPIC_MIN_INSYNC_REPLICAS": "1",
        "JWT_SECRET": secrets.token_hex(32),
        "FILES_URL": (TARGET / "contract" / "files").absolute().as_uri(),
        # High enough never to refuse; the test needs only the headers.
        "RATE_LIMIT_EVENTS_PER_SECOND": "1000000",
        "RATE_LIMIT_READS_PER_SECOND": "1000000",
        "LOG_FORMAT": "json",
    }


def wait_until_ready(url: str, services: list[subprocess.Popen]) -> None:
    for _ in range(600):
        if any(service.poll() is not None for service in services):
            sys.exit("contract: a service ended, see target/contract/*.log")
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                if json.load(answer)["status"] == "ready":
                    return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            pass
        time.sleep(0.1)
    sys.exit(f"contract: {url} is not ready after a minute")


def main() -> int:
    env = environment()
    logs = TARGET / "contract"
    api, ops, worker_ops = free_port(), free_port(), free_port()
    subprocess.run([BINARIES / "worker-service", "setup"], env=env, check=True, stdout=subprocess.DEVNULL)
    services = []
    try:
        for name, args, settings in [
            ("worker-service", ["run"], {"OPS_BIND": f"127.0.0.1:{worker_ops}"}),
            ("api-service", [], {"OPS_BIND": f"127.0.0.1:{ops}", "API_BIND": f"127.0.0.1:{api}"}),
        ]:
            log = open(logs / f"{name}.log", "wb")
            command = [BINARIES / name, *args]
            services.append(subprocess.Popen(command, env=env | settings, stdout=log, stderr=subprocess.STDOUT))
        wait_until_ready(f"http://127.0.0.1:{api}/health/ready", services)
        document = logs / "openapi.json"
        urllib.request.urlretrieve(f"http://127.0.0.1:{api}/openapi.json", document)
        token = subprocess.run(
            [BINARIES / "devstack", "token", "--subject", "contract", "--role", "admin"],
            env=env, check=True, capture_output=True, text=True,
        ).stdout.strip()
        command = [
            pathlib.Path(sys.executable).parent / "st",
            "--config-file", HERE / "schemathesis.toml",
            # From a file: if the document is read from the API, Schemathesis does not test the operation that serves
            # it.
            "run", document, "--url", f"http://127.0.0.1:{api}",
            "--max-time", os.environ.get("CONTRACT_SECONDS", "180"),
            "--report-junit-path", logs / "junit.xml",
            *sys.argv[1:],
        ]
        if seed := os.environ.get("CONTRACT_SEED"):
            command += ["--seed", seed]
        ours = {"CONTRACT_TOKEN": token, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
        found = subprocess.run(command, env=env | ours | {"PYTHONDONTWRITEBYTECODE": "1"}, cwd=logs)
        for service in services:
            if service.poll() is not None:
                sys.exit("contract: a service ended, see target/contract/*.log")
        return found.returncode
    finally:
        for service in services:
            service.terminate()
        for service in services:
            service.wait(30)


if __name__ == "__main__":
    sys.exit(main())
