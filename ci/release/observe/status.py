"""The status of an environment: what runs, of which release, and drift from the record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ci.aws import ecs, elb
from ci.aws.ecs import Task
from ci.common import tables
from ci.common.concurrency import parallel
from ci.config import Agent
from ci.release.model import ReleaseContext, ServiceRevision, agents_of
from ci.release.observe import crash_loops
from ci.release.observe.crash_loops import LOOP, Examined, age_text
from ci.release.observe.one_off_tasks import one_off_tasks
from ci.release.plan.changes import CurrentService, current_services, services_of
from ci.release.records import lock, table
from ci.release.records.release import History, Release
from ci.release.rollout.verdict import LEAVING

HEADS = (
    *("agent", "release", "revision", "version", "digest"),
    *("tasks", "age", "restarts", "health", "last event"),
)
#: Health of an agent of acso.toml that the current release does not have: the next deploy adds it.
NOT_RELEASED = "not in this release"
#: Health of an agent behind an internal load balancer that this machine does not reach.
HEALTHY_TARGETS = "targets healthy"
FINE = ("healthy", HEALTHY_TARGETS, NOT_RELEASED)
UNKNOWN = "in no acso.toml known here, and in no release on record"
EVENT_WIDTH = 60  # characters of ECS's last event


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """One service: what it runs, how many tasks, its health, and its drift from the record.

    `release` is the one that deployed its revision; empty if none on record did. `age` is the
    seconds since its newest running task was created, None if none runs; `restarts` counts the
    tasks of its revision that failed in the last hour, as far as ECS lists them.
    """

    agent: str
    service: str
    run: ServiceRevision | None
    running: int
    health: str
    drift: str = ""
    last_event: str = ""
    release: str = ""
    age: float | None = None
    restarts: int = 0

    def data(self) -> dict[str, Any]:
        """Return the service for machines."""
        run = self.run
        return {
            "agent": self.agent,
            "service": self.service,
            "release": self.release,
            "revision": run.revision if run else None,
            "version": run.version if run else None,
            "digest": run.digest if run else None,
            "running": self.running,
            "desired": run.desired if run else 0,
            "age": None if self.age is None else round(self.age, 3),
            "restarts": self.restarts,
            "health": self.health,
            "drift": self.drift,
            "last_event": self.last_event,
        }


@dataclass(frozen=True, kw_only=True)
class Status:
    """An environment at one moment; `notes` describe a lock and unfinished releases."""

    environment: str
    release: str
    services: tuple[ServiceStatus, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all services run what the last validated release lists, and are healthy."""
        return all(item.health in FINE and not item.drift for item in self.services)

    def text(self) -> str:
        """Return the status for people: notes, a table of the services, and drift."""
        release = f"release {self.release}" if self.release else "no validated release yet"
        width = tables.terminal_width()

        def lines(texts: Sequence[str]) -> list[str]:
            return [
                line for text in texts for line in tables.folded(text, width=width, indent="  ")
            ]

        drifts = [f"{item.agent}: {item.drift}" for item in self.services if item.drift]
        services = tables.table(HEADS, [*map(_row, self.services)], width=width, indent="  ")
        head = f"{self.environment}: {release}"
        return "\n".join([head, *lines(self.notes), *services, *lines(drifts)])

    def data(self) -> dict[str, Any]:
        """Return the status for machines."""
        return {
            "environment": self.environment,
            "release": self.release,
            "ok": self.ok,
            "notes": list(self.notes),
            "services": [item.data() for item in self.services],
        }


async def status(context: ReleaseContext) -> Status:
    """Read the status of every service; takes no lock, and changes no service.

    A release that crash-loops is marked on record, so that nothing returns to it.
    """
    tasks = await ecs.all_tasks(context.aws, context.outputs.cluster)
    found = await crash_loops.mark(context, await table.history(context), tasks)
    history = found.history
    known = await services_of(context, history.services)
    agents = _agents(context, history)

    async def one(service: str) -> ServiceStatus:
        return await _service(context, history, agents[service], known[service], tasks)

    services = [*await parallel(one, known), *await _unknown(context, known)]
    release = history.current.id if history.current else ""
    return Status(
        environment=context.env.name,
        release=release,
        services=tuple(services),
        notes=tuple(await _notes(context, found)),
    )


async def _service(
    context: ReleaseContext,
    history: History,
    agent: Agent,
    found: CurrentService,
    tasks: Sequence[Task],
) -> ServiceStatus:
    state, run, now = found.service, found.run, context.clock.now()
    service = context.env.service(agent)
    failed = crash_loops.failures(tasks, run.revision) if run else []
    recent = crash_loops.recent(failed, now)
    health = NOT_RELEASED
    if state or not history.current or service in history.current.after:
        health = await _health(context, agent, found)
    if len(recent) >= LOOP:
        health = crash_loops.restarts_text(recent, now)
    return ServiceStatus(
        agent=agent.name,
        service=service,
        run=run,
        running=state.running if state else 0,
        health=health,
        drift=drift(history.current, service, run),
        last_event=state.last_event if state else "",
        release=brought_by(history, service, run),
        age=crash_loops.newest_age(tasks, run.revision, now) if run else None,
        restarts=len(failed),
    )


async def _unknown(
    context: ReleaseContext, known: Mapping[str, CurrentService]
) -> list[ServiceStatus]:
    """Return the cluster's other services: another checkout, or somebody by hand, created them."""
    names = await ecs.service_names(context.aws, context.outputs.cluster)
    others = await current_services(context, [name for name in names if name not in known])
    return [
        ServiceStatus(
            agent=name.removeprefix(f"{context.env.prefix}-"),
            service=name,
            run=found.run,
            running=found.service.running,
            health="not checked",
            drift=UNKNOWN,
            last_event=found.service.last_event,
        )
        for name, found in others.items()
        if found.service
    ]


def _agents(context: ReleaseContext, history: History) -> dict[str, Agent]:
    """Return the agents by service: as the last validated release has them, or as acso.toml does.

    Of agents of earlier releases alone, nothing but the name is known.
    """
    named = {
        s: Agent(name=name, port=0, health_path="/health", calls=())
        for s, name in history.services.items()
    }
    recorded = history.current.agents if history.current else ()
    released = {context.env.service(agent): agent for agent in recorded}
    return {**named, **agents_of(context.config, context.env), **released}


def brought_by(history: History, service: str, run: ServiceRevision | None) -> str:
    """Return the release that deployed the revision that a service runs; pure."""
    listing = [
        release.id
        for release in history.releases
        if run and service in release.after and release.after[service].revision == run.revision
    ]
    return listing[-1] if listing else ""  # the oldest: later ones did not change it


def drift(release: Release | None, service: str, run: ServiceRevision | None) -> str:
    """Describe how a service differs from the last validated release; pure."""
    listed = release.after.get(service) if release else None
    if listed == run or (listed and run and listed.same_as(run)):
        return ""
    if listed is None:
        return "not part of a validated release" if run else ""
    if run is None:
        return f"missing; the record lists revision {listed.number}"
    if run.revision != listed.revision:
        return f"revision {run.number}; the record lists {listed.number}"
    return f"{run.desired} tasks desired; the record lists {listed.desired}"


async def _health(context: ReleaseContext, agent: Agent, found: CurrentService) -> str:
    """Describe what the agent's health endpoint answers through the load balancer."""
    if found.service is None or found.run is None:
        return "missing"
    if found.run.desired == 0:
        return "scaled to 0"
    answer = await context.probe.get(context.url(agent.name) + agent.health_path)
    if not answer.status and context.env.load_balancer.internal:
        return await _target_health(context, agent)
    if answer.status != 200:
        return answer.error or f"HTTP {answer.status}"
    if answer.body.get("version") != found.run.version:
        return f"answers version {answer.body.get('version')}"
    return "healthy"


async def _target_health(context: ReleaseContext, agent: Agent) -> str:
    """Describe what the load balancer's own checks found: this machine does not reach it."""
    found = await elb.targets(context.aws, context.outputs.target_groups[agent.name])
    states = sorted({item.state for item in found if item.state not in LEAVING})
    return HEALTHY_TARGETS if states == ["healthy"] else f"targets {', '.join(states) or 'none'}"


async def _notes(context: ReleaseContext, found: Examined) -> Sequence[str]:
    """Describe a crash loop, who holds the lock, and each unfinished release."""
    history = found.history
    lease = await lock.current(context)
    alive = lock.is_active(context, lease)
    notes = [*(found.notes or _mark(history))]
    notes += [f"locked by {lock.describe(lease)}"] if lease and alive else []
    for release in history.unfinished:
        if alive and lease and release.holder == lease.holder.get("who"):
            notes.append(f"release {release.id} is {_words(release)}")
        else:
            notes.append(
                f"release {release.id} is unfinished: {release.holder} stopped while "
                f"{_words(release)}; the next `deploy` or `rollback` takes it over"
            )
    return notes + [task.text() for task in await one_off_tasks(context)]


def _mark(history: History) -> list[str]:
    """Describe a mark of an earlier look."""
    release = history.current
    if release is None or release.stable:
        return []
    return [f"release {release.id} is no rollback target: {release.why}"]


def _words(release: Release) -> str:
    return str(release.state).replace("_", " ")


def changes(before: Status | None, after: Status) -> list[str]:
    """Return one line for each new note and each service that changed; pure."""
    known = {item.agent: _lasting(item) for item in before.services} if before else {}
    notes = [note for note in after.notes if before is None or note not in before.notes]
    moved = [item for item in after.services if known.get(item.agent) != _lasting(item)]
    return notes + [_change(item) for item in moved]


def lasting(found: Status) -> Status:
    """Return a status without the ages, which always change."""
    return replace(found, services=tuple(map(_lasting, found.services)))


def _lasting(item: ServiceStatus) -> ServiceStatus:
    return replace(item, age=None)


def _change(item: ServiceStatus) -> str:
    parts = [f"{head} {cell}" for head, cell in zip(HEADS[1:6], _row(item)[1:6], strict=True)]
    parts += [f"restarts {item.restarts}"] * bool(item.restarts)
    return ", ".join([f"{item.agent}: {item.health}", *parts, *([item.drift] * bool(item.drift))])


def _row(item: ServiceStatus) -> tuple[str, ...]:
    run = item.run
    return (
        item.agent,
        item.release or "-",
        run.number if run else "-",
        run.version if run else "-",
        run.digest.removeprefix("sha256:")[:12] if run else "-",
        f"{item.running}/{run.desired if run else 0}",
        "-" if item.age is None else age_text(item.age),
        str(item.restarts or "-"),
        item.health + (" (drift)" if item.drift else ""),
        _event(item.last_event),
    )


def _event(text: str) -> str:
    """Return ECS's event without the service's name, shortened."""
    event = text.partition(") ")[2] if text.startswith("(service ") else text
    return event if len(event) <= EVENT_WIDTH else event[: EVENT_WIDTH - 1] + "…"
