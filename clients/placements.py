"""Placements from end to end: an editor makes a video, a player reads its files, and a validation ends."""

import hashlib
import json
import time
import urllib.error
import urllib.request

import objects
import vtt

NAME = "the API and its files"
# A label that would end a cue, begin a tag or a reference, or break a line, were it not escaped.
LABEL = 'a --> <b>b</b> &amp; "c" größer\u2028'
PLACEMENTS = [
    {"productId": "mug", "startMs": 500, "endMs": 2_500, "label": LABEL, "campaignId": 7},
    {"productId": "mug", "startMs": 0, "endMs": 1_500, "layer": 1,
     "region": {"x": 0.25, "y": 0.0001, "width": 0.5, "height": 0.3333}},
    {"productId": "none", "startMs": 3_599_000, "endMs": 3_600_001},
]


class Editor:
    def __init__(self, stack):
        self.stack = stack

    def call(self, method: str, path: str, body=None, **headers) -> tuple[int, dict, bytes]:
        headers = {"authorization": f"Bearer {self.stack.token}", "content-type": "application/json"} | headers
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.stack.url}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=40) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def expect(self, status: int, *call, **headers) -> tuple[dict, dict]:
        """The body and the headers of an answer with this status."""
        found, told, body = self.call(*call, **headers)
        if found != status:
            raise AssertionError(f"{call[0]} {call[1]}: {found} instead of {status}: {body[:300]}")
        return json.loads(body) if body else {}, told

    def until_ready(self, video: str) -> dict:
        """Waits until the files show the newest revision."""
        until = time.monotonic() + 30
        while True:
            found, _ = self.expect(200, "GET", f"/videos/{video}")
            if found["files"]["state"] == "ready":
                return found
            if time.monotonic() > until:
                raise AssertionError(f"the files are not ready: {found}")
            time.sleep(0.05)

    def file(self, video: str, name: str) -> tuple[bytes, str, str]:
        """The bytes, the entity tag without its quotes, and the revision."""
        status, headers, body = self.call("GET", f"/videos/{video}/files/{name}")
        if status != 200:
            raise AssertionError(f"{name}: {status}: {body[:300]}")
        return body, headers["etag"].strip('"'), headers["x-revision"]


def make(editor: Editor) -> str:
    editor.expect(201, "PUT", "/products/mug", {"name": "Mug", "active": True})
    video, _ = editor.expect(201, "POST", "/videos", {"title": "A film", "durationMs": 3_600_000, "frameRate": 29.97})
    video = video["id"]
    key = {"idempotency-key": f'"clients-{video}"'}
    first, _ = editor.expect(201, "POST", f"/videos/{video}/placements", PLACEMENTS, **key)
    again, told = editor.expect(201, "POST", f"/videos/{video}/placements", PLACEMENTS, **key)
    if first != again or told["idempotent-replayed"] != "true":
        raise AssertionError(f"repeated with its key: {again}, and first it was {first}")
    return video


def files(editor: Editor, video: str, store) -> None:
    """Both files show the newest revision, their tag is their SHA-256, and the store has them under that name."""
    ready = editor.until_ready(video)
    for name in ("placements.json", "placements.vtt"):
        body, tag, revision = editor.file(video, name)
        if hashlib.sha256(body).hexdigest() != tag or revision != str(ready["revision"]):
            raise AssertionError(f"{name}: the tag is {tag}, the revision {revision} of {ready['revision']}")
        status, _, _ = editor.call("GET", f"/videos/{video}/files/{name}", None, **{"if-none-match": f'"{tag}"'})
        if status != 304:
            raise AssertionError(f"{name}: {status} instead of 304")
        if store.read(tag) != body:
            raise AssertionError(f"{name}: the store has other bytes")
    shown = json.loads(editor.file(video, "placements.json")[0])
    labels = [placement.get("label") for placement in shown["placements"]]
    if labels != [None, LABEL, None] or shown["video"]["frameRate"] != 29.97:
        raise AssertionError(f"the file has {shown}")


def track(editor: Editor, video: str) -> None:
    """A browser reads the cues as the placements."""
    json_file, vtt_file = (editor.file(video, name)[0] for name in ("placements.json", "placements.vtt"))
    vtt.check(vtt_file, json.loads(json_file)["placements"])


def validation(editor: Editor, video: str) -> None:
    """A validation is queued, and ends with what is wrong with the video."""
    queued, told = editor.expect(202, "POST", f"/videos/{video}/validations")
    if told["location"] != f"/validations/{queued['id']}":
        raise AssertionError(f"Location: {told['location']}")
    done, _ = editor.expect(200, "GET", told["location"], None, prefer="wait=20")
    codes = {finding["code"] for finding in done["findings"]}
    if done["status"] != "succeeded" or not {"campaign_missing", "out_of_bounds", "product_missing"} <= codes:
        raise AssertionError(f"{done['status']}: {sorted(codes)}")
    shown, _ = editor.expect(200, "GET", f"/videos/{video}")
    if done["stale"] or done["revision"] != shown["revision"]:
        raise AssertionError(f"of revision {done['revision']} of {shown['revision']}, stale: {done['stale']}")


def run(table, store: objects.Store) -> dict[str, str]:
    """Runs all of it; answers what could not be had, and why."""
    editor, made, missing = Editor(table.stack), None, {}

    def attempt(client: str, version: str, mode: str, what) -> None:
        nonlocal made
        try:
            made = what() or made
            table.add(client, version, mode, "ok")
        except Exception as error:  # Whatever a client says is a result.
            table.add(client, version, mode, f"FAILED: {type(error).__name__}: {error}")

    attempt(NAME, "", "a video with placements, once by its key", lambda: make(editor))
    if not made:
        return missing
    attempt(store.name, store.version, "files, by their SHA-256", lambda: files(editor, made, store))
    attempt(NAME, "", "a validation, waited for", lambda: validation(editor, made))
    if vtt.browser():
        attempt("Chromium", vtt.version(), "reads the cues of WebVTT", lambda: track(editor, made))
    else:
        missing["Chromium"] = "no `chromium` here"
    return missing
