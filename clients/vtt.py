"""Reads WebVTT with a browser's own parser: headless Chromium loads a page with the file as a track of metadata."""

import base64
import html
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

# A page whose script waits for the track, and then writes what the browser understood into the document.
PAGE = """<!doctype html><meta charset=utf-8><video><track kind=metadata default src="data:text/vtt;base64,%s"></video>
<pre id=found></pre><script>
const element = document.querySelector("track");
const show = (found) => document.getElementById("found").textContent = JSON.stringify(found);
element.addEventListener("load", () => show([...element.track.cues].map((cue) =>
  ({ id: cue.id, start: Math.round(cue.startTime * 1000), end: Math.round(cue.endTime * 1000), text: cue.text }))));
element.addEventListener("error", () => show({ error: "the browser refuses the file" }));
element.track.mode = "hidden";
</script>"""


def browser() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def version() -> str:
    said = subprocess.run([browser(), "--version"], capture_output=True, text=True, timeout=60).stdout
    return re.search(r"\d+(\.\d+)+", said)[0]


def cues(file: bytes) -> list[dict]:
    """The cues as the browser reads them: id, start and end in milliseconds, text."""
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder) / "page.html"
        page.write_text(PAGE % base64.b64encode(file).decode())
        command = [
            browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions",
            "--no-first-run", f"--user-data-dir={folder}/profile", "--virtual-time-budget=10000", "--dump-dom",
            page.as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, timeout=120, env=os.environ | {"HOME": folder})
    document = done.stdout.decode(errors="replace")
    found = re.search(r"<pre id=\"?found\"?>(.*?)</pre>", document, re.S)
    if not found or not found[1]:
        raise AssertionError(f"the browser told nothing of the track: {done.stderr.decode(errors='replace')[-400:]}")
    answer = json.loads(html.unescape(found[1]))
    if "error" in answer:
        raise AssertionError(answer["error"])
    return answer


def check(file: bytes, placements: list[dict]) -> None:
    """The cues are these placements, as the JSON file has them, in their order."""
    read = cues(file)
    expected = [{"id": it["id"], "start": it["startMs"], "end": it["endMs"], "text": it} for it in placements]
    found = [cue | {"text": json.loads(cue["text"])} for cue in read]
    if found != expected:
        raise AssertionError(f"the browser reads {found}, and the file has {expected}")
