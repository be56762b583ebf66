#!/usr/bin/env python3
"""Walks through the calls of each domain against a running stack, and checks every answer.

    docker compose run --rm tests
    API=http://localhost:8000 python3 tools/walks.py       beside `make dev`

Needs nothing but Python, and may run as often as you like: devices and campaigns are new each time. `TOKEN` is a token
with the roles device, user, advertiser, tracker, editor and admin; without one, `JWT_SECRET` signs it.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid

API = os.environ.get("API", "http://localhost:8000").rstrip("/")
# How long an event may take until it can be read, and how long a 503 may last.
PATIENCE = 30
CAMPAIGN = {
    "name": "demo",
    "pricing_model": "cpm",
    "unit_price": "10",
    "total_budget": "5",
    "daily_budget": "1",
    "freq_cap_impressions_per_day": 2,
}


class Failed(Exception):
    """An answer that is not the one that the walk expects."""


class Answer:
    def __init__(self, call, status, headers, body):
        self.call, self.status, self.headers, self.body = call, status, headers, body

    def __str__(self):
        return f"{self.call}: {self.status} {json.dumps(self.body)}"

    def expect(self, status, /, **members):
        """Prints the answer, and fails unless it has this status and these members."""
        print(f"  {self}")
        wrong = {name: value for name, value in members.items() if self.member(name) != value}
        if self.status != status or wrong:
            raise Failed(f"expected {status} {json.dumps(members)}")
        return self

    def member(self, name):
        return self.body.get(name) if isinstance(self.body, dict) else None


def signed_token():
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    claims = {
        "sub": "walks",
        "roles": ["device", "user", "advertiser", "tracker", "editor", "admin"],
        "exp": int(time.time()) + 600,
    }
    head, body = (part(json.dumps(value).encode()) for value in ({"alg": "HS256", "typ": "JWT"}, claims))
    secret = os.environ.get("JWT_SECRET") or "local-dev-secret"
    signature = hmac.new(secret.encode(), head + b"." + body, hashlib.sha256).digest()
    return b".".join([head, body, part(signature)]).decode()


def once(method, path, body, token, more=None):
    headers = {"Content-Type": "application/json", **(more or {})}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(API + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            status, headers, text = response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        status, headers, text = error.code, error.headers, error.read()
    return Answer(f"{method} {path}", status, headers, json.loads(text) if text else None)


def call(method, path, body=None, token=None, more=None):
    """Sends a request. A 503 is sent again, as its Retry-After says."""
    until = time.monotonic() + PATIENCE
    while True:
        answer = once(method, path, body, token, more)
        if answer.status != 503 or time.monotonic() > until:
            return answer
        print(f"  {answer}: again")
        time.sleep(float(answer.headers.get("Retry-After", "1")))


def eventually(method, path, token, is_there):
    """Repeats a read until its answer is the expected one."""
    until = time.monotonic() + PATIENCE
    while True:
        answer = call(method, path, token=token)
        if answer.status == 200 and is_there(answer.body):
            return answer
        if time.monotonic() > until:
            raise Failed(f"not within {PATIENCE} s; the last answer: {answer}")
        time.sleep(0.1)


def faults(answer):
    return " ".join(str(fault.get("detail")) for fault in answer.member("errors") or [])


def devices(token):
    device = f"walk-{uuid.uuid4()}"
    event = {"device_id": device, "payload": {"status": "online", "temp_c": 37.2}}
    call("POST", "/events", event).expect(401, code="invalid_token")
    accepted = call("POST", "/events", event, token).expect(202, status="accepted")
    state = eventually("GET", f"/resource/{device}", token, lambda body: body["event_id"] == accepted.body["event_id"])
    state.expect(200, version=1, id=device, payload=event["payload"])


def ads(token):
    # Compose and `make dev` let callers of these calls in without a token.
    created = call("POST", "/campaigns/", CAMPAIGN)
    if created.status == 401:
        print(f"  {created}: with a token")
        created = call("POST", "/campaigns/", CAMPAIGN, token)
    else:
        token = None
    created.expect(201, state="running", spent="0", remaining="5")
    campaign = created.headers["Location"].rstrip("/").rsplit("/", 1)[1]
    if created.body["id"] != int(campaign):
        raise Failed(f"Location is {created.headers['Location']}")

    def post(user):
        event = {"campaign_id": int(campaign), "user_id": user, "event_type": "impression"}
        return call("POST", "/events/", event, token)

    # The cap is a day's: if the day ends meanwhile, another user begins in the next one.
    for user in ["u1", "u2"]:
        first, second = post(user), post(user)
        third = post(user)
        if third.status == 429 or first.member("day") == second.member("day") == third.member("day"):
            break
    for answer in [first, second]:
        answer.expect(202, status="accepted", user_id=user, event_type="impression", cost="0.01")
    third.expect(429, code="frequency_capped")
    if int(third.headers["Retry-After"]) < 1:
        raise Failed("a Retry-After to the end of the day")

    seen = 2 if user == "u1" else 4
    report = eventually("GET", f"/report/campaign/{campaign}", token, lambda body: body["impressions"] >= seen)
    if user == "u1":
        report.expect(200, impressions=2, clicks=0, users=1, spend="0.02", remaining="4.98")
    else:
        report.expect(200, clicks=0)

    # The path decides which kind of event it is, never the body.
    device = {"device_id": "walk", "payload": {}}
    wrong = call("POST", "/events/", device, token).expect(422)
    if "/events" not in faults(wrong):
        raise Failed("the right path in errors")


def placements(token):
    """Needs the roles editor and admin."""
    product = f"walk-{uuid.uuid4()}"
    call("PUT", f"/products/{product}", {"name": "Mug", "active": True}, token).expect(201, id=product, active=True)
    video = call("POST", "/videos", {"title": "A film", "durationMs": 60_000}, token).expect(201, placements=0).body["id"]
    new = {"videoId": video, "productId": product, "startMs": 1_000, "endMs": 3_000}
    key = {"Idempotency-Key": f"walk-{video}"}
    placed = call("POST", "/placements", new, token, key).expect(201, videoId=video, startMs=1_000)
    again = call("POST", "/placements", new, token, key)
    if (again.body, again.headers["Idempotent-Replayed"]) != (placed.body, "true"):
        raise Failed(f"the same answer again: {again}")
    later = {"startMs": 2_000, "endMs": 4_000}
    call("PATCH", f"/placements/{placed.body['id']}", later, token).expect(428, code="precondition_required")
    changed = call("PATCH", f"/placements/{placed.body['id']}", later, token, {"If-Match": placed.headers["ETag"]})
    changed.expect(200, startMs=2_000, campaignId=None)
    # Players read the file, a moment later.
    revision = changed.body["files"]["revision"]
    path = f"/videos/{video}/files/placements.json"
    file = eventually("GET", path, token, lambda body: body["revision"] >= revision).expect(200)
    if [one["id"] for one in file.body["placements"]] != [placed.body["id"]]:
        raise Failed("the placement in the file")
    asked = call("POST", f"/videos/{video}/validations", None, token).expect(202, status="queued")
    path = f"/validations/{asked.body['id']}"
    report = eventually("GET", path, token, lambda body: body["status"] != "queued" and body["finishedAt"])
    report.expect(200, status="succeeded", findings=[], stale=False)


WALKS = {"devices": devices, "ads": ads, "placements": placements}


def main():
    token = os.environ.get("TOKEN") or signed_token()
    started = time.monotonic()
    for name, walk in WALKS.items():
        print(f"{name}:")
        try:
            walk(token)
        except (Failed, OSError, KeyError, TypeError, ValueError) as error:
            print(f"walks: FAILED: {name}: {type(error).__name__}: {error}")
            return 1
    print(f"walks: passed in {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
