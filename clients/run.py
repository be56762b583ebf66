"""Runs real clients against the API, reads back what each sent, and prints a table.

`make clients` runs it. What cannot be installed here is listed with the reason; the exit status is 1 if a client
that is here fails.
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import forwarders
import objects
import placements
from stack import CLIENTS, Stack, running

HERE = pathlib.Path(__file__).parent
BUILT = CLIENTS / "built"


class NotHere(Exception):
    """A client cannot be had on this machine, and why."""


def install(log: str, *command, cwd=None, env=None) -> None:
    """Runs a package manager or a compiler; what it says is in a log."""
    if not shutil.which(str(command[0])):
        raise NotHere(f"no `{command[0]}` here")
    with open(CLIENTS / f"install-{log}.log", "wb") as file:
        done = subprocess.run(command, cwd=cwd, env=os.environ | (env or {}), stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        last = pathlib.Path(file.name).read_text(errors="replace").strip().splitlines()[-1:]
        raise NotHere(f"`{command[0]}` failed ({file.name}): {' '.join(last)}")


def node() -> None:
    folder = CLIENTS / "node"
    shutil.copytree(HERE / "node", folder, dirs_exist_ok=True)
    install("node", "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)


def go() -> None:
    install("go", "go", "build", "-o", BUILT / "go", ".", cwd=HERE / "go")


def java() -> None:
    copy = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
    folder = CLIENTS / "java"
    shutil.copytree(HERE / "java", folder, dirs_exist_ok=True)
    install("maven", "mvn", "-q", "-B", copy, "-DoutputDirectory=lib", cwd=folder)
    install("javac", "javac", "-cp", "lib/*", "-d", ".", "Clients.java", cwd=folder)


JAVA = ["java", "-Dfile.encoding=UTF-8", "-cp", f"{CLIENTS}/java:{CLIENTS}/java/lib/*", "Clients"]
# Name, what installs it (the Makefile made the environment of Python), and its programs. Those that read the topic
# come last, so that they find what all the others sent.
POSTS = [
    ("Python", None, [[sys.executable, HERE / "python" / name] for name in ("sdk.py", "libraries.py", "commands.py")]),
    ("Node", node, [["node", CLIENTS / "node/post.js"]]),
    ("Go", go, [[BUILT / "go"]]),
    ("Java", java, [JAVA]),
]
READS = [
    ("Python", [sys.executable, HERE / "python/consumer.py"]),
    ("Node", ["node", CLIENTS / "node/consume.js"]),
    ("Java", [*JAVA, "consume"]),
]
# What commands publish. Each program that reads gets its name and, once that is known, how many records it has.
DOMAIN_EVENTS = "domain-events"


class Table:
    def __init__(self, stack: Stack):
        self.stack, self.rows, self.sent, self.published = stack, [], {}, 0

    def add(self, client: str, version: str, mode: str, result: str) -> None:
        self.rows.append((client, version, mode, result))
        print(f"{client:40} {version:15} {mode:46} {result}", flush=True)

    def run(self, name: str, command: list) -> None:
        """Runs a program of clients, and judges each line that it prints."""
        env = os.environ | {
            "CLIENTS_URL": self.stack.url, "CLIENTS_TOKEN": self.stack.token, "CLIENTS_BROKERS": self.stack.brokers,
            "PYTHONDONTWRITEBYTECODE": "1", "NO_PROXY": "*",
        }
        with open(CLIENTS / "programs.log", "ab") as log:
            try:
                done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=log, timeout=300)
            except (OSError, subprocess.TimeoutExpired) as error:
                return self.add(name, "", str(pathlib.Path(command[-1]).name), f"FAILED: {error}")
        # Not `splitlines`, for which characters of a text, such as U+2028, end a line, too.
        lines = [line for line in done.stdout.decode().split("\n") if line]
        for line in map(json.loads, lines):
            self.add(line["client"], line["version"], line["mode"], self.judge(line))
        if done.returncode or not lines:
            self.add(name, "", pathlib.Path(command[-1]).name, f"FAILED: exit status {done.returncode}")

    def judge(self, line: dict) -> str:
        if error := line.get("error"):
            return f"FAILED: {error}"
        if "read" in line:
            return self.judge_read(line["read"])
        for device, payload in line["sent"].items():
            found = self.stack.wait_for(device, lambda found: found == payload)
            if found != payload:
                return f"FAILED: {device} is {found}, and {payload} was sent"
        self.sent |= line["sent"]
        return "ok"

    def judge_read(self, records: list) -> str:
        """A consumer has read what each client sent last for each device."""
        if any(kind.startswith("com.nedlia.") for _, _, kind, *_ in records):
            return self.judge_published(records)
        last = {device: (kind, payload) for device, _, kind, payload, _ in records}
        for device, payload in self.sent.items():
            if last.get(device) != ("io.edge.device.reported.v1", payload):
                return f"FAILED: {device} reads as {last.get(device)}, and {payload} was sent"
        return f"ok ({len(records)} events)" if self.sent else "FAILED: nothing was sent before"

    def judge_published(self, records: list) -> str:
        """A consumer has read what commands published: of each aggregate the numbers 1, 2, 3 …, each once."""
        numbers, kinds = {}, set()
        for subject, event, kind, data, more in records:
            numbers.setdefault(more["partitionkey"], []).append(int(more["sequence"]))
            kinds.add(kind.removeprefix("com.nedlia."))
            if not more["correlationid"] or data.get("videoId", more["partitionkey"]) != more["partitionkey"]:
                return f"FAILED: {event} of {subject} has {more} and {data}"
            if kind.endswith("files_generated") and not more["causationid"]:
                return f"FAILED: {event} names no cause: {more}"
        for aggregate, found in numbers.items():
            if found != list(range(1, len(found) + 1)):
                return f"FAILED: {aggregate} reads {found}"
        wanted = {"video.created", "placement.created", "video.validation_requested", "video.validation_completed",
                  "video.files_generated"}
        if not wanted <= kinds or self.published not in (0, len(records)):
            return f"FAILED: {len(records)} events of {sorted(kinds)}, and another client read {self.published}"
        self.published = len(records)
        return f"ok ({len(records)} events)"


def store() -> tuple[contextlib.AbstractContextManager, dict[str, str]]:
    """Where files are kept, and what could not be had."""
    try:
        objects.install(install)
        return objects.served(), {}
    except NotHere as reason:
        return contextlib.nullcontext(objects.Store()), {"S3 (moto)": str(reason)}


def main() -> int:
    missing, ready = {}, set()
    for name, installs, _ in POSTS:
        try:
            if installs:
                print(f"installs what {name} needs", flush=True)
                installs()
            ready.add(name)
        except NotHere as reason:
            missing[f"the clients of {name}"] = str(reason)
    for command in ("curl", "wget"):
        if not shutil.which(command):
            missing[command] = f"no `{command}` here"
    served, reasons = store()
    missing |= reasons
    with served as files, running(files.env) as stack:
        table = Table(stack)
        for name, _, programs in POSTS:
            for program in programs if name in ready else []:
                table.run(name, program)
        missing |= forwarders.run(table)
        missing |= placements.run(table, files)
        for name, program in READS:
            if name in ready:
                table.run(name, program)
                table.run(name, [*program, DOMAIN_EVENTS, *([str(table.published)] if table.published else [])])
    failed = [row for row in table.rows if row[3].startswith("FAILED")]
    clients = len({row[0] for row in table.rows})
    print(f"\n{clients} clients, {len(table.rows)} modes: {len(table.rows) - len(failed)} ok, {len(failed)} failed")
    print(f"{len(missing)} could not be had here:")
    for name, reason in missing.items():
        print(f"  {name}: {reason}")
    for row in failed:
        print("FAILED", *row[:3], row[3].removeprefix("FAILED: "), sep=" | ")
    print(f"{len(table.rows) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
