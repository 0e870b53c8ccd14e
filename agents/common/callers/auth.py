"""Who calls: bearer tokens of people and of agents, in two secrets of Secrets Manager.

A secret is one token, or JSON that gives each caller's name its token. A token may be stored as
`sha256:` and its hash in hexadecimal digits: then agents can check it and not use it. Agents accept
the current version of a secret and the previous one, so that a rotation interrupts nobody.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import anyio
from fastapi import Depends, Request

from agents.common.aws import Aws
from agents.common.errors import ProblemError
from agents.common.settings import Role

Stage = Literal["AWSCURRENT", "AWSPREVIOUS"]
#: Returns a secret's text in a stage, None if it has none; raises if it cannot be read.
Fetch = Callable[[str, Stage], Awaitable[str | None]]

#: Seconds for which the secrets are not read again.
FRESH = 30.0
#: Seconds after which secrets that cannot be read again are not used any more: a revoked token is
#: refused within a minute.
STALE = 55.0
#: Seconds after which an unknown token leads to a new reading: it may be newer than the last one.
RECENT = 1.0
HASHED = "sha256:"

_log = logging.getLogger("agents.auth")


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who sent a request."""

    name: str
    role: Role


@dataclass(frozen=True, kw_only=True)
class _Known:
    caller: Caller
    hash: bytes


@dataclass(kw_only=True)
class Tokens:
    """The tokens of callers, and the one that this agent calls others with."""

    secrets: Mapping[Role, str]
    fetch: Fetch
    monotonic: Callable[[], float] = time.monotonic
    _known: tuple[_Known, ...] = ()
    _own: str = ""
    _read: float | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def caller(self, token: str) -> Caller | None:
        """Return whose token it is; None if nobody's. Raises `ProblemError` 503."""
        await self._refresh(FRESH)
        found = match(self._known, token)
        if found is None and token:
            await self._refresh(RECENT)
            found = match(self._known, token)
        return found

    async def own(self) -> str:
        """Return the token that agents call each other with; raises `ProblemError` 503."""
        await self._refresh(FRESH)
        if not self._own:
            raise ProblemError(503, "there is no token for calls between agents")
        return self._own

    async def _refresh(self, age: float) -> None:
        async with self._lock:
            if self._age() < age:
                return
            try:
                await self._load()
            except Exception as error:
                _log.warning("tokens cannot be read: %s: %s", type(error).__name__, error)
                if self._age() >= STALE:
                    raise ProblemError(503, "the callers' tokens cannot be read") from error

    async def _load(self) -> None:
        known: list[_Known] = []
        own = ""
        for role, secret in self.secrets.items():
            current = parse(role, await self.fetch(secret, "AWSCURRENT") or "")
            previous = parse(role, await self.fetch(secret, "AWSPREVIOUS") or "")
            known += _hashed(role, current) + _hashed(role, previous)
            if role == "agent":
                own = next((token for _, token in current if not token.startswith(HASHED)), "")
        self._known, self._own, self._read = tuple(known), own, self.monotonic()

    def _age(self) -> float:
        return float("inf") if self._read is None else self.monotonic() - self._read


def parse(role: Role, text: str) -> list[tuple[str, str]]:
    """Return the callers' names and tokens of a secret's text; empty tokens do not count."""
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return [(role, text.strip())] if text.strip() else []
    return [(str(name), str(token)) for name, token in document.items() if token]


def match(known: Iterable[_Known], token: str) -> Caller | None:
    """Return whose token it is. Compares with every known token, in constant time for each."""
    given = hashlib.sha256(token.encode()).digest()
    found: Caller | None = None
    for each in known:
        if hmac.compare_digest(each.hash, given):
            found = each.caller
    return found


def _hashed(role: Role, tokens: Iterable[tuple[str, str]]) -> list[_Known]:
    return [
        _Known(caller=Caller(name=name, role=role), hash=_hash(token)) for name, token in tokens
    ]


def _hash(token: str) -> bytes:
    if token.startswith(HASHED):
        try:
            return bytes.fromhex(token.removeprefix(HASHED))
        except ValueError:
            return b""  # equal to no hash
    return hashlib.sha256(token.encode()).digest()


def from_secrets_manager(aws: Aws) -> Fetch:
    """Return what reads secrets with the task's role."""

    def get(secret: str, stage: Stage) -> str | None:
        client = aws.client("secretsmanager")
        try:
            answer: dict[str, Any] = client.get_secret_value(SecretId=secret, VersionStage=stage)
        except client.exceptions.ResourceNotFoundException:
            if stage == "AWSCURRENT":
                raise
            return None  # never rotated, or revoked
        return str(answer["SecretString"])

    async def fetch(secret: str, stage: Stage) -> str | None:
        return await anyio.to_thread.run_sync(get, secret, stage)

    return fetch


def caller_of(request: Request) -> Caller:
    """Return who sent a request."""
    caller: Caller = request.state.caller
    return caller


Who = Annotated[Caller, Depends(caller_of)]


def person(caller: Who) -> Caller:
    """Return the person who sent a request; raises `ProblemError` 403 for an agent."""
    if caller.role != "person":
        raise ProblemError(403, f"{caller.name} is an agent; only a person may do this")
    return caller


Person = Annotated[Caller, Depends(person)]
