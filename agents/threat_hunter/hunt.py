"""Find attacks in a stream of events, with the windows and findings that are stored."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import anyio

from agents.common.runtime import Runtime
from agents.common.store.state import ConflictError, Write, derived_id
from agents.threat_hunter import windows as sliding
from agents.threat_hunter.events import Event, Problems
from agents.threat_hunter.logic import exfiltrates, is_escalation, is_public
from agents.threat_hunter.rules import RULES
from agents.threat_hunter.state import (
    Finding,
    Opened,
    StoredMark,
    Window,
    findings,
    intelligence,
    windows,
)
from agents.threat_hunter.windows import Episode, Mark

#: Sources whose events are stored at once, and in one request: those with the most events.
CONCURRENT, MAX_SOURCES = 16, 1000
#: Events that a finding shows, and the characters of each text in them.
EVIDENCE, MAX_TEXT = 5, 200
ATTEMPTS = 20
#: Episodes of one source in one request whose findings are stored: the newest. A transaction of
#: DynamoDB has at most 100 writes.
MAX_EPISODES = 50


@dataclass(kw_only=True)
class Signs:
    """What the events of one source and rule have shown so far."""

    marks: list[Mark] = field(default_factory=list)
    evidence: list[dict[str, Any]] = field(default_factory=list)
    events: int = 0

    def add(self, event: Event, amount: int) -> None:
        """Count an event; memory is bounded by the marks that a window keeps."""
        self.events += 1
        self.marks.append(Mark(time=event.entry.time, id=event.id, amount=amount))
        if len(self.marks) > 4 * sliding.KEPT:
            self.marks = sorted(self.marks)[-2 * sliding.KEPT :]
        if len(self.evidence) < EVIDENCE:
            self.evidence.append(excerpt(event.fields))


@dataclass(frozen=True, kw_only=True)
class Hunt:
    """The result of a hunt; `skipped` sources had too few events to be among the stored ones."""

    events: int
    findings: tuple[Finding, ...]
    invalid: int
    problems: tuple[str, ...]
    skipped: int


@dataclass(kw_only=True)
class Hunter:
    """Collects the signs in a stream of events, then stores windows and findings."""

    runtime: Runtime
    bad: frozenset[str]
    events: int = 0
    problems: Problems = field(default_factory=Problems)
    _signs: dict[tuple[str, str], Signs] = field(default_factory=dict)

    def see(self, event: Event) -> None:
        """Note the signs of one event."""
        self.events += 1
        for rule, amount in signs_of(event, self.bad):
            key = (rule, event.entry.source)
            if key not in self._signs:
                self._signs[key] = Signs()
            self._signs[key].add(event, amount)

    async def end(self) -> Hunt:
        """Store what was seen and return the findings, the most severe first."""
        by_size = sorted(self._signs.items(), key=lambda item: -item[1].events)
        limit = anyio.Semaphore(CONCURRENT)
        found: list[Finding] = []

        async def one(rule: str, source: str, signs: Signs) -> None:
            async with limit:
                found.extend(await self._store(rule, source, signs))

        async with anyio.create_task_group() as group:
            for (rule, source), signs in by_size[:MAX_SOURCES]:
                group.start_soon(one, rule, source, signs)
        order = ("critical", "high", "medium", "low", "info")
        found.sort(key=lambda finding: (order.index(finding.severity), finding.id))
        return Hunt(
            events=self.events,
            findings=tuple(found),
            invalid=self.problems.count,
            problems=tuple(self.problems.first),
            skipped=max(0, len(by_size) - MAX_SOURCES),
        )

    async def _store(self, rule: str, source: str, signs: Signs) -> list[Finding]:
        """Merge the signs into the stored window, and write the findings of its episodes."""
        for _ in range(ATTEMPTS):
            try:
                return await self._merge(rule, source, signs)
            except ConflictError:
                continue  # another request has events of the same source
        message = f"window of {source} changes all the time"
        raise ConflictError(message)

    async def _merge(self, rule: str, source: str, signs: Signs) -> list[Finding]:
        collection = windows(self.runtime, rule)
        document = await collection.get(source)
        old = document.value if document else Window()
        span, limit = sliding.LIMITS.get(rule, sliding.SINGLE)
        known = [Mark(time=m.time, id=m.id, amount=m.amount) for m in old.marks]
        marks = sliding.merge(known, signs.marks, span)
        episodes = sliding.episodes(marks, span, limit)
        touched = [e for e in episodes if any(e.first <= m.time <= e.last for m in signs.marks)]
        opened = list(old.opened)
        changed: dict[str, Finding] = {}
        writes: dict[str, Write] = {}
        for episode in touched[-MAX_EPISODES:]:
            finding, write = await self._finding(rule, source, episode, signs, opened, changed)
            changed[finding.id] = finding
            # A transaction writes an item once: the last write has the earlier ones in it.
            writes |= {finding.id: write} if write else {}
        kept = [item for item in opened if not marks or item.last >= marks[0].time]
        window = old.model_copy(
            update={
                "marks": tuple(StoredMark(time=m.time, id=m.id, amount=m.amount) for m in marks),
                "opened": tuple(kept),
            }
        )
        if window != old:
            stored = (
                collection.change(document, window)
                if document
                else collection.creation(source, window)
            )
            await self.runtime.table.write([*writes.values(), stored])
        return list(changed.values())

    async def _finding(
        self,
        rule: str,
        source: str,
        episode: Episode,
        signs: Signs,
        opened: list[Opened],
        changed: Mapping[str, Finding],
    ) -> tuple[Finding, Write | None]:
        """Return the finding of an episode, new or extended, and the write that stores it."""
        collection = findings(self.runtime)
        known = next((item for item in opened if _overlaps(item, episode)), None)
        id_ = known.finding if known else derived_id(episode.first, rule, source)
        document = await collection.get(id_)
        now = changed.get(id_) or (document.value if document else None)
        value = _extended(now, episode) if now else _new(id_, rule, source, episode, signs)
        if known is not None:
            opened.remove(known)
        opened.append(Opened(finding=id_, first=value.first, last=value.last))
        if document is None:
            return value, collection.creation(id_, value)
        return value, None if value == document.value else collection.change(document, value)


def signs_of(event: Event, bad: frozenset[str]) -> Iterable[tuple[str, int]]:
    """Yield the rules that an event counts for, and its amount."""
    entry = event.entry
    if entry.failed_login:
        yield "failed_login_brute_force", 1
    if entry.source in bad:
        yield "suspicious_ip_activity", 1
    if entry.sent and entry.destination is not None and is_public(entry.destination):
        yield "data_exfiltration_volume", entry.sent
        if exfiltrates(entry):
            yield "data_exfiltration_pattern", 1
    if is_escalation(entry):
        yield "privilege_escalation", 1


async def hunter(runtime: Runtime) -> Hunter:
    """Return a hunter that knows the stored addresses of attackers."""
    document = await intelligence(runtime).get("addresses")
    return Hunter(runtime=runtime, bad=frozenset(document.value.addresses if document else ()))


async def recent(runtime: Runtime, since: datetime, limit: int) -> Sequence[Finding]:
    """Return the findings of attacks that went on after a time, the newest first."""
    page = await findings(runtime).page(limit=limit)
    return [finding for finding in page.items if finding.last >= since]


def excerpt(fields: Any) -> dict[str, Any]:
    """Return the plain fields of an event, shortened; nested ones may contain secrets."""
    return {
        _text(name): _text(value) if isinstance(value, str) else value
        for name, value in list(fields.items())[:20]
        if isinstance(value, str | int | float | bool)
    }


def _text(value: Any) -> str:
    # Halves of surrogate pairs, which JSON allows, cannot be stored.
    return str(value)[:MAX_TEXT].encode(errors="replace").decode()


def _overlaps(known: Opened, episode: Episode) -> bool:
    return known.first <= episode.last and episode.first <= known.last


def _extended(finding: Finding, episode: Episode) -> Finding:
    return finding.model_copy(
        update={
            "first": min(finding.first, episode.first),
            "last": max(finding.last, episode.last),
            "events": max(finding.events, episode.events),
        }
    )


def _new(id_: str, rule: str, source: str, episode: Episode, signs: Signs) -> Finding:
    about = RULES[rule]
    return Finding(
        id=id_,
        rule=rule,
        technique=about.technique,
        threat=about.threat,
        severity=about.severity,
        confidence=about.confidence,
        source=source,
        first=episode.first,
        last=episode.last,
        events=episode.events,
        evidence=tuple(signs.evidence),
    )
