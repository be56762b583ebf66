#!/usr/bin/env python3
"""Posts real impressions to campaigns with a cap, and counts what is accepted. `make impressions` runs it.

The file (`tools/impressions` makes it) has 60,000 impressions of a week. Here each campaign of each of its days is a
campaign of its own, and everything is posted within one day of the test. So it is known beforehand how many different
impressions a cap lets through, whatever the order. Each is posted twice, at different times, through two instances of
the API, and repeated until the answer is 202 or 429. Meanwhile instances of the API, workers and the Redis of the caps
are killed and started again.
"""

import argparse
import collections
import csv
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "target" / "impressions.csv"
ROWS = 60_000
# How many of them these caps let through.
EXPECTED = {1: 37_091, 2: 47_624, 3: 52_210, 5: 55_965}
SECRET = "the secret of impressions, which is long enough for this"
# An event of a campaign that has no lease waits for one, some 0.1 s.
THREADS = 256
DEADLINE = 900


def port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Program:
    """A process that is killed and started again."""

    def __init__(self, name, command, env, log):
        self.name, self.command, self.env, self.log = name, command, env, log
        self.kills = 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, env=self.env, stdout=self.log, stderr=self.log)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.kills += 1

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


class World:
    def __init__(self, log):
        stack = json.loads(os.environ["DEVSTACK"])
        binaries = Path(os.environ["DEVSTACK_BINARIES"])
        self.redis = port()
        self.database = stack["postgres_url"]
        common = {
            "KAFKA_BROKERS": stack["kafka_brokers"], "DATABASE_URL": stack["postgres_url"],
            "REDIS_URL": stack["redis_url"], "AD_REDIS_URL": f"redis://127.0.0.1:{self.redis}",
            "TOPIC_REPLICATION": "1", "TOPIC_MIN_INSYNC_REPLICAS": "1", "JWT_SECRET": SECRET,
            "ADS_ANONYMOUS_ROLES": "advertiser,tracker", "DRAIN_DELAY": "0s",
        }
        env = lambda **more: {**os.environ, **common, "OPS_BIND": f"127.0.0.1:{port()}", **more}
        redis = ["redis-server", "--port", str(self.redis), "--save", "", "--maxmemory-policy", "noeviction"]
        self.caps = Program("redis", redis, dict(os.environ), log)
        subprocess.run([binaries / "worker-service", "setup"], env=env(), check=True, stdout=log, stderr=log)
        self.ports = [port(), port()]
        self.apis = [
            Program(f"api {n}", [binaries / "api-service"], env(API_BIND=f"127.0.0.1:{n}"), log) for n in self.ports
        ]
        self.workers = [Program(f"worker {n}", [binaries / "worker-service", "run"], env(), log) for n in range(2)]

    def sql(self, statement):
        command = ["psql", "-XqAt", self.database, "-c", statement]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def end(self):
        for program in [*self.apis, *self.workers, self.caps]:
            program.end()


class Client:
    """A connection to each instance."""

    def __init__(self, ports):
        self.ports, self.connections = ports, [None, None]

    def post(self, api, path, body):
        """The status and body of an answer; None without one."""
        try:
            if self.connections[api] is None:
                self.connections[api] = http.client.HTTPConnection("127.0.0.1", self.ports[api], timeout=20)
            connection = self.connections[api]
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            if self.connections[api] is not None:
                self.connections[api].close()
            self.connections[api] = None
            return None


def create(world, names, cap):
    client, ids = Client(world.ports), {}
    for name in names:
        body = json.dumps({
            "name": name, "external_id": name, "pricing_model": "cpm", "unit_price": "10", "total_budget": "1000",
            "freq_cap_impressions_per_day": cap,
        })
        until = time.monotonic() + 60
        while name not in ids:
            answer = client.post(0, "/campaigns", body)
            if answer and answer[0] in (200, 201):
                ids[name] = json.loads(answer[1])["id"]
            elif time.monotonic() > until:
                sys.exit(f"error: no campaign {name}: {answer}")
            else:
                time.sleep(0.2)
    return ids


def post_all(world, posts, answers, problems):
    """Posts until each answer is 202 or 429; each thread takes the next one."""
    lock, left, accepted_at = threading.Lock(), list(reversed(posts)), {}

    def run():
        client = Client(world.ports)
        while True:
            with lock:
                if not left or problems:
                    return
                event, api, body = left.pop()
            until = time.monotonic() + DEADLINE
            while True:
                sent = time.monotonic()
                answer = client.post(api, "/ad-events", body)
                status = answer[0] if answer else None
                with lock:
                    if status == 202:
                        accepted_at.setdefault(event, time.monotonic())
                    if status == 429 and accepted_at.get(event, sent) < sent:
                        problems.append((event, "it was answered 202, and then 429"))
                    answers[event][status] += 1
                if status in (202, 429):
                    break
                if status not in (None, 409, 503) or time.monotonic() > until:
                    problems.append((event, answer))
                    return
                time.sleep(random.uniform(0.1, 0.5))

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    return threads


def break_things(world, stop, seed):
    """Kills one of them each few seconds, and starts it again. Redis comes back empty."""
    chance = random.Random(seed)
    while not stop.wait(chance.uniform(3, 6)):
        program = chance.choice([*world.apis, *world.apis, *world.workers, world.caps])
        program.kill()
        time.sleep(chance.uniform(0.1, 1.5))
        program.start()


def accepted_by(cap, keys):
    """How many different impressions a cap lets through."""
    return sum(min(count, cap) for count in collections.Counter(keys).values())


def read():
    """The campaign of a day, and the user, of each impression."""
    with open(FILE, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != ROWS:
        sys.exit(f"error: {FILE} has {len(rows)} impressions, not {ROWS}: delete it, and it is made again")
    keys = [(f"{row['campaign']}-{row['seen_at'][:10]}", row["user"]) for row in rows]
    found = {cap: accepted_by(cap, keys) for cap in EXPECTED}
    if found != EXPECTED:
        sys.exit(f"error: {FILE} has other impressions: its caps let {found} through, not {EXPECTED}: delete it")
    return keys


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cap", type=int, default=int(os.environ.get("CAP", "2")))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("CHAOS_SEED", random.randrange(1_000_000))))
    settings = parser.parse_args()
    keys = read()
    expected = accepted_by(settings.cap, keys)
    print(f"cap {settings.cap}, CHAOS_SEED={settings.seed}: {expected} of {len(keys)} may be accepted", flush=True)

    log = open(ROOT / "target" / "impressions.log", "wb")
    world = World(log)
    ids = create(world, sorted({name for name, _ in keys}), settings.cap)
    day = world.sql("SELECT (now() AT TIME ZONE 'UTC')::date")
    bodies = [
        json.dumps({"campaign_id": ids[name], "user_id": user, "event_type": "impression", "event_id": f"i-{n}"})
        for n, (name, user) in enumerate(keys)
    ]
    chance = random.Random(settings.seed)
    posts = [(n, (n + copy) % 2, bodies[n]) for copy in range(2) for n in range(len(bodies))]
    # Near the order of the file, and never twice the same.
    posts.sort(key=lambda post: post[0] + chance.uniform(0, 3_000))
    answers, problems, stop = [collections.Counter() for _ in keys], [], threading.Event()
    began = time.monotonic()
    breaking = threading.Thread(target=break_things, args=(world, stop, settings.seed))
    breaking.start()
    threads = post_all(world, posts, answers, problems)
    while any(thread.is_alive() for thread in threads):
        threads[0].join(10)
        time.sleep(10 if any(thread.is_alive() for thread in threads) else 0)
        done = sum(answer[202] + answer[429] for answer in answers)
        print(f"{time.monotonic() - began:6.0f} s  {done} of {len(posts)} answered", flush=True)
    stop.set()
    breaking.join()

    accepted = sum(answer[202] > 0 for answer in answers)
    counted = lambda: int(world.sql("SELECT count(*) FROM ad_events WHERE outcome = 'counted'"))
    until = time.monotonic() + 180
    while counted() < accepted and time.monotonic() < until:
        time.sleep(1)
    over = world.sql(
        f"SELECT count(*) FROM (SELECT FROM ad_events WHERE outcome = 'counted' AND type = 'impression'"
        f" GROUP BY campaign_id, user_id, day HAVING count(*) > {settings.cap}) AS over"
    )
    spent = world.sql("SELECT sum(spent) = (SELECT sum(cost) FROM ad_events) FROM campaigns")
    void = world.sql("SELECT count(*) FROM ad_events WHERE outcome <> 'counted'")
    is_one_day = world.sql("SELECT (now() AT TIME ZONE 'UTC')::date") == day
    statuses = sum(answers, collections.Counter())
    kills = {program.name.split()[0]: 0 for program in [*world.apis, *world.workers, world.caps]}
    for program in [*world.apis, *world.workers, world.caps]:
        kills[program.name.split()[0]] += program.kills
    world.end()
    print(f"answers: {dict(statuses)}; killed: {kills}; {time.monotonic() - began:.0f} s")
    print(f"accepted: {accepted} different impressions, expected {expected}; refused: {len(keys) - accepted}")
    print(f"counted: {counted()}; users over the cap: {over}; not counted: {void}; the sums agree: {spent}")
    if problems:
        sys.exit(f"error: {problems[:3]}")
    if not is_one_day:
        sys.exit("void: the day ended meanwhile")
    if (accepted, counted(), over, void, spent) != (expected, expected, "0", "0", "t"):
        sys.exit("error: this is not as it has to be")


if __name__ == "__main__":
    main()
