"""Where the services of `make clients` keep the files of videos: in S3, as moto's server speaks it, which boto3 reads
back; or in a folder, where moto cannot be had."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

from stack import CLIENTS, free_port

HERE = pathlib.Path(__file__).parent
# An environment of its own: moto and HTTPie want other versions of the same packages.
VENV = CLIENTS / "moto"
BUCKET, PREFIX = "files", "videos"
KEYS = {"AWS_ACCESS_KEY_ID": "clients", "AWS_SECRET_ACCESS_KEY": "clients-secret", "AWS_REGION": "eu-central-1"}
READ = "import boto3, sys; sys.stdout.buffer.write(boto3.client('s3', endpoint_url=sys.argv[1], " \
       "region_name='eu-central-1').get_object(Bucket=sys.argv[2], Key=sys.argv[3])['Body'].read())"
MAKE = "import boto3, sys; boto3.client('s3', endpoint_url=sys.argv[1], region_name='eu-central-1').create_bucket(" \
       "Bucket=sys.argv[2], CreateBucketConfiguration={'LocationConstraint': 'eu-central-1'})"
VERSION = "from importlib.metadata import version; print(f\"{version('boto3')}, {version('moto')}\")"


def name_of(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256[2:]}"


class Store:
    """Files in a folder."""

    name, version = "a folder", ""

    def __init__(self):
        self.folder = CLIENTS / "files"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.env = {"FILES_URL": self.folder.as_uri()}

    def read(self, sha256: str) -> bytes:
        return (self.folder / name_of(sha256)).read_bytes()


class S3(Store):
    """Files in a bucket of moto's server."""

    name = "boto3, moto (S3)"

    def __init__(self, url: str):
        self.url = url
        self.env = KEYS | {
            "FILES_URL": f"s3://{BUCKET}/{PREFIX}", "AWS_ENDPOINT": url, "AWS_ALLOW_HTTP": "true",
        }
        python(MAKE, url, BUCKET)
        self.version = python(VERSION).decode().strip()

    def read(self, sha256: str) -> bytes:
        return python(READ, self.url, BUCKET, f"{PREFIX}/{name_of(sha256)}")


def python(program: str, *args: str) -> bytes:
    done = subprocess.run([VENV / "bin/python", "-c", program, *args], env=os.environ | KEYS | {"NO_PROXY": "*"},
                          capture_output=True, timeout=120)
    if done.returncode:
        raise AssertionError(done.stderr.decode(errors="replace").strip().splitlines()[-1])
    return done.stdout


def install(install_with_log) -> None:
    """Makes the environment once; `install_with_log` runs a command, and raises if it cannot."""
    wanted = (HERE / "moto.txt").read_text()
    if (VENV / "complete").exists() and (VENV / "complete").read_text() == wanted:
        return
    install_with_log("moto", sys.executable, "-m", "venv", VENV)
    pip = [VENV / "bin/pip", "install", "--quiet", "--disable-pip-version-check"]
    install_with_log("moto", *pip, "-r", HERE / "moto.txt")
    (VENV / "complete").write_text(wanted)


@contextlib.contextmanager
def served():
    """A bucket on a server of its own, until the end."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with open(CLIENTS / "moto.log", "wb") as log:
        server = subprocess.Popen([VENV / "bin/moto_server", "-H", "127.0.0.1", "-p", str(port)],
                                  stdout=log, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(url, timeout=1).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > until:
                    raise AssertionError("moto does not start: target/clients/moto.log") from None
                time.sleep(0.1)
        yield S3(url)
    finally:
        server.terminate()
        server.wait(30)
