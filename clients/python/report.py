"""What the programs in Python share: where the API is, an event to send, and one line of JSON for each mode."""

import json
import os
import re
import traceback

URL = os.environ["CLIENTS_URL"]
TOKEN = os.environ["CLIENTS_TOKEN"]
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
JSON = AUTHORIZED | {"content-type": "application/json"}
TYPE = "io.edge.device.reported.v1"


def payload(number: int = 1) -> dict:
    return {"temp_c": 36.5 + number, "status": "online", "note": "größer als 100 %"}


def event(device: str, number: int = 1) -> dict:
    return {"device_id": device, "event_id": f"{device}-{number}", "payload": payload(number)}


def expect(status: int, wanted: int, body: object = "") -> None:
    if status != wanted:
        raise AssertionError(f"{status} instead of {wanted}: {body}")


def attempt(client: str, version: str, mode: str, run) -> None:
    """Runs one mode. `run` gets a name for its device, and returns what it sent: the payload of each device."""
    line = {"client": client, "version": version, "mode": mode}
    device = re.sub("[^a-z0-9]+", "-", f"{client}-{mode}".lower()).strip("-")
    try:
        line["sent"] = run(device) or {}
    except Exception as error:  # Whatever a client says is a result.
        traceback.print_exc()
        line["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(line), flush=True)


# More than any limit of the API: the client has to be able to read the 413.
TOO_LARGE = b'{"device_id":"large","payload":{"x":"' + b"x" * 20_000_000 + b'"}}'
