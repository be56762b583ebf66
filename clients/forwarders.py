"""What forwards over HTTP: Telegraf with the recipe of docs/forwarders.md, and what Debian has.

Debian's packages are unpacked in target/, because to install one would start a service. Each forwarder reads a file
of lines; its event is there when the device's state is the last line.
"""

import contextlib
import glob
import os
import pathlib
import re
import shutil
import subprocess
import time

from stack import CLIENTS, ROOT

HERE = pathlib.Path(__file__).parent
DEBIAN = CLIENTS / "debian"
TELEGRAF = "v1.37.2"
# Only the parts that the recipe names: all of Telegraf takes half an hour to compile.
PARTS = "custom,inputs.tail,parsers.json,processors.starlark,outputs.http,serializers.json"


def unpacked() -> str | None:
    """Unpacks Debian's packages once; answers why it could not."""
    if not all(map(shutil.which, ("apt-get", "dpkg-deb"))):
        return "no `apt-get` here"
    if (DEBIAN / "complete").exists():
        return None
    packages = CLIENTS / "packages"
    packages.mkdir(exist_ok=True)
    root = [] if os.getuid() == 0 else ["sudo"]
    download = ["apt-get", "download", *(HERE / "debian/packages").read_text().split()]
    if subprocess.run(download, cwd=packages, capture_output=True).returncode:
        subprocess.run([*root, "apt-get", "update"], capture_output=True)
        done = subprocess.run(download, cwd=packages, capture_output=True, text=True)
        if done.returncode:
            return f"`apt-get download` failed: {' '.join(done.stderr.strip().splitlines()[-1:])}"
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, DEBIAN], check=True)
    (DEBIAN / "complete").touch()
    return None


def libraries() -> dict[str, str]:
    folders = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib/syslog-ng")
    return {"LD_LIBRARY_PATH": ":".join(str(DEBIAN / folder) for folder in folders)}


@contextlib.contextmanager
def started(name: str, command: list, env: dict[str, str]):
    """Runs a forwarder in a folder of its own, and ends it."""
    with open(CLIENTS / f"{name}.log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=folder(name), env=os.environ | env, stdout=log, stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def folder(name: str) -> pathlib.Path:
    found = CLIENTS / "run" / name
    found.mkdir(parents=True, exist_ok=True)
    return found


def version(command: list, env: dict[str, str]) -> str:
    said = subprocess.run(command, capture_output=True, text=True, env=os.environ | env)
    return re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)[0]


def said(name: str) -> str:
    return " ".join((CLIENTS / f"{name}.log").read_text(errors="replace").strip().splitlines()[-2:])


def syslog_ng(table) -> None:
    """The lines go through http() in batches; the whole batch is asked for as a history of 200 events."""
    name, device, env = "syslog-ng", "syslog-ng-1", libraries()
    at = folder(name)
    lines = at / "readings.log"
    lines.write_text("".join(f'press "7" sagt: größer als {n} %\n' for n in range(200)))
    config = (HERE / "debian/syslog-ng.conf").read_text()
    for word, value in {
        "LINES": lines, "URL": table.stack.url, "DEVICE_EVENTS_TOKEN": table.stack.token, "DEVICE_ID": device,
    }.items():
        config = config.replace(f"`{word}`", str(value))
    (at / "syslog-ng.conf").write_text(config)
    for left in ("persist", "pid", "control"):
        (at / left).unlink(missing_ok=True)
    program = DEBIAN / "usr/sbin/syslog-ng"
    modules = glob.glob(f"{DEBIAN}/usr/lib/syslog-ng/3*")
    command = [program, "--module-path", ":".join(modules), "-F", "--no-caps", "-f", "syslog-ng.conf",
               "-R", at / "persist", "-p", at / "pid", "-c", at / "control"]
    wanted = {"message": 'press "7" sagt: größer als 199 %'}
    with started(name, command, env):
        found = table.stack.wait_for(device, lambda found: found == wanted)
        count = table.stack.count(device)
    result = "ok" if (found, count) == (wanted, 200) else f"FAILED: {count} events, the last is {found}; {said(name)}"
    table.sent |= {device: wanted}
    table.add(name, version([program, "--version"], env), "http(), 200 lines in batches", result)


def collectd(table) -> str:
    """write_http has no template: what it sends is no event. The API has to say so, and collectd to show it."""
    name, env = "collectd", libraries()
    config = (HERE / "debian/collectd.conf").read_text()
    for word, value in {"ROOT": DEBIAN, "URL": table.stack.url, "TOKEN": table.stack.token}.items():
        config = config.replace(f"@{word}@", str(value))
    (folder(name) / "collectd.conf").write_text(config)
    program = DEBIAN / "usr/sbin/collectd"
    with started(name, [program, "-f", "-C", "collectd.conf"], env):
        until = time.monotonic() + 30
        while "422" not in (text := (CLIENTS / f"{name}.log").read_text(errors="replace")) and time.monotonic() < until:
            time.sleep(0.2)
    result = "ok" if re.search(r"[Ee]rror code\D*422", text) else f"FAILED: {said(name)}"
    table.add(name, version([program, "-h"], env), "write_http: its own JSON gets 422, which it logs", result)
    return "write_http has no template and sends a shape of its own, so it cannot send events (Telegraf can)"


def telegraf(table) -> str | None:
    """Compiles Telegraf from the Go proxy, and runs the recipe as it is written, with a file as its input."""
    if not shutil.which("go"):
        return "no `go` here"
    install = ["go", "install", "-tags", PARTS, f"github.com/influxdata/telegraf/cmd/telegraf@{TELEGRAF}"]
    with open(CLIENTS / "install-telegraf.log", "wb") as log:
        env = os.environ | {"GOBIN": str(CLIENTS / "built"), "CGO_ENABLED": "0"}
        if subprocess.run(install, env=env, stdout=log, stderr=subprocess.STDOUT).returncode:
            return f"it does not compile: target/clients/{pathlib.Path(log.name).name}"
    name, device = "telegraf", "telegraf-1"
    recipe = (ROOT / "docs/forwarders.md").read_text().split("\n## Telegraf\n")[1].split("```toml\n")[1].split("```")[0]
    lines = folder(name) / "readings.log"
    lines.write_text("".join(f'{{"temp_c": {n}.5}}\n' for n in range(20)))
    config = recipe.replace("https://events.example.com", table.stack.url) + f"""
[[inputs.tail]]
  name_override = "press"
  files = ["{lines}"]
  from_beginning = true
  data_format = "json"
"""
    (folder(name) / "telegraf.toml").write_text(config.replace(
        "[agent]\n", f'[agent]\n  hostname = "{device}"\n  flush_interval = "1s"\n  interval = "1s"\n', 1))
    program = CLIENTS / "built/telegraf"
    with started(name, [program, "--config", "telegraf.toml"], {"DEVICE_EVENTS_TOKEN": table.stack.token}):
        found = table.stack.wait_for(device, lambda found: found.get("fields") == {"temp_c": 19.5})
        count = table.stack.count(device)
    good = found and found.get("fields") == {"temp_c": 19.5} and count == 20
    table.sent |= {device: found} if good else {}
    table.add(name, TELEGRAF[1:], "the recipe of docs/forwarders.md, 20 lines",
              "ok" if good else f"FAILED: {count} events, the last is {found}; {said(name)}")
    return None


# No registry that `make clients` uses has these: it takes nothing from anywhere else.
ELSEWHERE = {
    "Fluent Bit": "not in Debian 12, and its packages are only on its own site",
    "Vector": "not in Debian, and no crate of crates.io; its packages are only on its own site",
    "Logstash": "not in Debian, and its packages are only on its own site",
}


def run(table) -> dict[str, str]:
    """Runs all of them; answers which could not be had, and why."""
    missing = dict(ELSEWHERE)
    if reason := telegraf(table):
        missing["Telegraf"] = reason
    if reason := unpacked():
        return missing | {f"{name} (Debian)": reason for name in ("rsyslog", "syslog-ng", "collectd")}
    if not glob.glob(f"{DEBIAN}/usr/lib/*/rsyslog/omhttp.so"):
        missing["rsyslog's omhttp"] = "Debian's package of rsyslog is built without it"
    syslog_ng(table)
    missing["events from collectd"] = collectd(table)
    return missing
