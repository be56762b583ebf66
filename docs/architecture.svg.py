#!/usr/bin/env python3
"""Draws docs/architecture.svg: `make picture` runs it. It needs nothing but Python.

Colours follow the reader's light or dark scheme. The picture has its own background, so that it is legible where a
page and the system disagree.
"""

import sys
from pathlib import Path

WIDTH, HEIGHT = 900, 590

STYLE = """
  text { font: 14px -apple-system, "Segoe UI", "Helvetica Neue", Helvetica, Arial, sans-serif; fill: var(--text) }
  .name { font-weight: 600; font-size: 16px } .small { font-size: 13px; fill: var(--soft) }
  .code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 13px }
  .middle { text-anchor: middle } .end { text-anchor: end }
  .page { fill: var(--page); stroke: var(--line) }
  .ours { fill: var(--ours); stroke: var(--ours-line); stroke-width: 1.5 }
  .server { fill: var(--server); stroke: var(--line) } .part { fill: var(--page); stroke: var(--line) }
  .domain { fill: var(--domain); stroke: var(--domain-line); stroke-width: 1.5 }
  .next { fill: none; stroke: var(--domain-line); stroke-width: 1.5; stroke-dasharray: 5 4 }
  .write { stroke: var(--write) } .read { stroke: var(--read) } .dead { stroke: var(--dead) }
  .arrow { fill: none; stroke-width: 2 } .back { stroke-dasharray: 5 4 }
  .write-text { fill: var(--write) } .read-text { fill: var(--read) } .dead-text { fill: var(--dead) }
  .domain-text { fill: var(--domain-line) }
"""

LIGHT = {
    "page": "#ffffff", "text": "#1f2328", "soft": "#59636e", "line": "#d1d9e0", "server": "#f6f8fa",
    "ours": "#eef6ff", "ours-line": "#54aeff", "domain": "#fff3e6", "domain-line": "#bc4c00",
    "write": "#0969da", "read": "#1a7f37", "dead": "#cf222e",
}
DARK = {
    "page": "#0d1117", "text": "#f0f6fc", "soft": "#9198a1", "line": "#3d444d", "server": "#161b22",
    "ours": "#0f2033", "ours-line": "#388bfd", "domain": "#2b1a0c", "domain-line": "#ffa657",
    "write": "#79c0ff", "read": "#56d364", "dead": "#ff7b72",
}

drawn = []


def box(x, y, width, height, style, radius=8):
    drawn.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" class="{style}"/>')


def text(x, y, words, style=""):
    drawn.append(f'<text x="{x}" y="{y}" class="{style}">{words}</text>')


def arrow(kind, *points, back=False):
    path = "M" + " L".join(f"{x} {y}" for x, y in points)
    style = f"arrow {kind}{' back' if back else ''}"
    drawn.append(f'<path d="{path}" class="{style}" marker-end="url(#{kind})"/>')


def scheme(colours):
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


def head(kind):
    return (
        f'<marker id="{kind}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="6" markerHeight="6" '
        f'orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z" fill="var(--{kind})"/></marker>'
    )


def draw():
    box(0.5, 0.5, WIDTH - 1, HEIGHT - 1, "page", 12)

    # Clients.
    text(24, 84, "devices", "name")
    text(24, 322, "dashboards", "name")

    # The two services.
    box(206, 28, 142, 430, "ours")
    text(277, 54, "api-service", "name middle")
    text(277, 76, "checks and answers", "small middle")
    for y, words in [(86, "ingest/"), (284, "cached/")]:
        box(218, y, 118, 28, "part", 6)
        text(277, y + 19, words, "code middle")
    box(690, 28, 182, 430, "ours")
    text(781, 54, "worker-service", "name middle")
    text(781, 76, "one group a domain", "small middle")
    for y, words in [(86, "consumer/"), (122, "scheduler/"), (172, "dead_letters/")]:
        box(702, y, 158, 28, "part", 6)
        text(781, y + 19, words, "code middle")
    text(781, 230, "orders by key, retries,", "small middle")
    text(781, 247, "waits out an outage", "small middle")

    # The servers between them.
    box(462, 28, 132, 200, "server")
    text(528, 54, "Kafka", "name middle")
    box(474, 70, 108, 54, "part", 6)
    text(528, 92, "events-input", "code middle")
    text(528, 111, "3 replicas", "small middle")
    box(474, 158, 108, 54, "part", 6)
    text(528, 180, "events-dlq", "code middle")
    text(528, 199, "dead letters", "small middle")
    box(462, 258, 132, 78, "server")
    text(528, 284, "Redis", "name middle")
    text(528, 304, "the latest state,", "small middle")
    text(528, 321, "with its version", "small middle")
    box(462, 372, 132, 86, "server")
    text(528, 398, "PostgreSQL", "name middle")
    text(528, 418, "events, resources:", "small middle")
    text(528, 435, "the truth", "small middle")

    # An event goes in.
    arrow("write", (90, 79), (202, 79))
    text(103, 70, "POST /events", "code write-text")
    arrow("write", (204, 118), (90, 118), back=True)
    text(124, 110, "202", "code write-text")
    for y, words in [(138, "only after the"), (155, "acknowledgement")]:
        text(96, y, words, "small")
    arrow("write", (350, 86), (470, 86))
    text(410, 77, "acks=all", "code write-text middle")
    arrow("write", (470, 112), (352, 112), back=True)
    text(408, 130, "acknowledged", "small middle")
    arrow("write", (584, 97), (688, 97))
    text(640, 88, "in batches", "small middle")

    # What becomes of it.
    arrow("dead", (688, 185), (586, 185))
    text(640, 176, "dead letter", "dead-text middle")
    arrow("write", (688, 297), (598, 297))
    text(644, 288, "fence", "write-text middle")
    arrow("write", (688, 415), (598, 415))
    text(643, 406, "transaction", "write-text middle")
    text(643, 434, "one a batch", "small middle")

    # A state is read.
    arrow("read", (122, 317), (202, 317))
    text(24, 346, "GET", "code read-text")
    text(24, 363, "/resource/{id}", "code read-text")
    arrow("read", (350, 297), (460, 297))
    text(406, 288, "hit", "read-text middle")
    text(406, 316, "body as it is", "small middle")
    arrow("read", (350, 415), (460, 415))
    text(406, 406, "miss", "read-text middle")
    text(406, 434, "under a lease", "small middle")

    # Where a domain plugs in.
    for x, width, parts in [(218, 118, ("routes, OpenAPI", "part")), (702, 158, ("handler, tasks", "part"))]:
        text(x + width / 2, 352, parts[0], "small middle")
        first = width * 0.6
        box(x, 362, first, 36, "domain", 6)
        text(x + first / 2, 385, "devices/", "code middle")
        box(x + first + 4, 362, width - first - 4, 36, "domain", 6)
        text(x + (first + 4 + width) / 2, 385, "ads/", "code middle")
        box(x, 408, width, 36, "next", 6)
        text(x + width / 2, 431, "yours/", "code middle domain-text")
    box(206, 484, 666, 82, "server")
    text(222, 509, "shared", "name")
    text(222, 529, "the code of both", "small")
    box(372, 498, 146, 54, "domain", 6)
    text(445, 521, "devices/, ads/", "code middle")
    text(445, 540, "types, rules, queries", "small middle")
    box(532, 498, 100, 54, "next", 6)
    text(582, 530, "yours/", "code middle domain-text")
    for y, words in [(508, "One folder in each crate and"), (526, "one line in each service:"), (544, "that is a domain.")]:
        text(650, y, words, "small")

    # What the colours mean.
    for y, kind, words in [(492, "write", "an event"), (514, "read", "a read"), (536, "dead", "a dead letter")]:
        drawn.append(f'<path d="M24 {y - 5} L56 {y - 5}" class="arrow {kind}"/>')
        text(66, y, words, "small")


def svg():
    draw()
    title = "An event goes from a device to the API, to Kafka, to a worker, to PostgreSQL and Redis; reads are served from there"
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">',
        "<!-- Drawn by docs/architecture.svg.py; `make picture` redraws it. -->",
        f"<title>{title}</title>",
        f"<style>\n  svg {{ {scheme(LIGHT)} }}",
        f"  @media (prefers-color-scheme: dark) {{ svg {{ {scheme(DARK)} }} }}{STYLE}</style>",
        f"<defs>{''.join(map(head, ['write', 'read', 'dead']))}</defs>",
        *drawn,
        "</svg>\n",
    ])


if __name__ == "__main__":
    to = Path(__file__).with_name("architecture.svg")
    if sys.argv[1:] == ["--check"]:
        if to.read_text() != svg():
            sys.exit("docs/architecture.svg is not what docs/architecture.svg.py draws: `make picture`")
    else:
        to.write_text(svg())
