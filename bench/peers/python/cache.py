"""Reads through Redis: the leases of the API in Rust, so that both can share one Redis and one worker."""

import asyncio
import random
import re
import secrets
from urllib.parse import quote

import asyncpg
import redis.asyncio
from redis.exceptions import RedisError

MISSING = b'{"version":0}'
LEASE_MS, MISSING_MS = 10_000, 2_000
FILL = """
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
    return 1"""
# The body of an answer, as the worker's fences and the API in Rust render it.
BODY = """
    SELECT '{"version":' || version || ',"id":' || to_json(id) || ',"payload":' || payload::text
        || ',"event_id":"' || event_id
        || '","accepted_at":"' || to_char(accepted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '","updated_at":"' || to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '"}' FROM resources WHERE id = $1"""
# As the API in Rust escapes ids: a brace, say, would choose the slot of a cluster.
PLAIN = re.compile(r"[A-Za-z0-9._:-]*").fullmatch


def escaped(id: str) -> str:
    return id if PLAIN(id) else quote(id, safe=":").replace("~", "%7E")


class Cache:
    def __init__(self, client: redis.asyncio.Redis, store: asyncpg.Pool, prefix: str, ttl: float):
        self.client, self.store, self.prefix, self.ttl = client, store, f"{prefix}resource:", ttl
        self.fill = client.register_script(FILL)
        # Reads that arrive while a request to Redis is under way go with the next one, in one MGET.
        self.waiting: list[tuple[str, asyncio.Future]] = []
        self.reader: asyncio.Task | None = None
        # Reads of PostgreSQL under way: others of the same key wait for them.
        self.loading: dict[str, asyncio.Task] = {}

    async def get(self, id: str) -> tuple[bytes, str]:
        """The body of an answer, and its `Cache-Status`."""
        key = self.prefix + escaped(id)
        try:
            found = await self.look(key)
        except (RedisError, OSError):
            return await self.load(id), "resource-cache; fwd=bypass"
        if found is not None and found.startswith(b'{"version":'):
            return found, "resource-cache; hit"
        if task := self.loading.get(key):
            return (await asyncio.shield(task))[0], "resource-cache; fwd=miss; collapsed"
        task = self.loading[key] = asyncio.create_task(self.miss(key, id))
        task.add_done_callback(lambda _: self.loading.pop(key, None))
        body, is_stored = await asyncio.shield(task)
        return body, "resource-cache; fwd=miss; stored" if is_stored else "resource-cache; fwd=miss"

    def look(self, key: str) -> asyncio.Future:
        answer = asyncio.get_running_loop().create_future()
        self.waiting.append((key, answer))
        if self.reader is None:
            self.reader = asyncio.create_task(self.read())
        return answer

    async def read(self) -> None:
        while self.waiting:
            batch, self.waiting = self.waiting, []
            try:
                found = await self.client.mget([key for key, _ in batch])
            except Exception as error:  # whatever it is, each reader has to hear of it
                found = [error] * len(batch)
            for (_, answer), body in zip(batch, found):
                if answer.done():
                    continue
                if isinstance(body, Exception):
                    answer.set_exception(body)
                else:
                    answer.set_result(body)
        self.reader = None

    async def miss(self, key: str, id: str) -> tuple[bytes, bool]:
        """Reads PostgreSQL, and fills the cache if the lease still stands after that: no fence came in between."""
        lease, has_lease = f"lease:{secrets.token_hex(16)}", False
        try:
            has_lease = await self.client.set(key, lease, nx=True, px=LEASE_MS)
        except (RedisError, OSError):
            pass
        body = await self.load(id)
        if not has_lease:
            return body, False
        ttl = MISSING_MS if body == MISSING else int(self.ttl * 1000 * (1 - random.random() / 10))
        try:
            return body, bool(await self.fill([key], [lease, body, ttl]))
        except (RedisError, OSError):
            return body, False

    async def load(self, id: str) -> bytes:
        body = await self.store.fetchval(BODY, id)
        return MISSING if body is None else body.encode()
