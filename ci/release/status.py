"""What runs, of which release, and whether it is what the record says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ci.aws import elb
from ci.release import lock, store
from ci.release.model import Place, Run, agents_of
from ci.release.parallel import parallel
from ci.release.plan import Current, current
from ci.release.record import History, Release


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """One service: what it runs, how many tasks, its health, and its drift from the record."""

    agent: str
    service: str
    run: Run | None
    running: int
    health: str
    drift: str = ""
    last_event: str = ""

    def data(self) -> dict[str, Any]:
        """Return the service for machines."""
        run = self.run
        return {
            "agent": self.agent,
            "service": self.service,
            "revision": run.revision if run else None,
            "version": run.version if run else None,
            "digest": run.digest if run else None,
            "running": self.running,
            "desired": run.desired if run else 0,
            "health": self.health,
            "drift": self.drift,
            "last_event": self.last_event,
        }


@dataclass(frozen=True, kw_only=True)
class Status:
    """An environment at one moment; notes tell of a lock and of unfinished releases."""

    environment: str
    release: str
    services: tuple[ServiceStatus, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all services run what the last validated release lists, and are healthy."""
        return all(item.health == "healthy" and not item.drift for item in self.services)

    def text(self) -> str:
        """Return the status for people: a line a service."""
        width = max((len(item.agent) for item in self.services), default=0)
        head = f"{self.environment}: release {self.release or 'none validated yet'}"
        return "\n".join(
            [head, *(f"  {note}" for note in self.notes)]
            + [f"  {_line(item, width)}".rstrip() for item in self.services]
        )

    def data(self) -> dict[str, Any]:
        """Return the status for machines."""
        return {
            "environment": self.environment,
            "release": self.release,
            "ok": self.ok,
            "notes": list(self.notes),
            "services": [item.data() for item in self.services],
        }


async def status(place: Place) -> Status:
    """Look at every service of the environment; changes nothing and takes no lock."""
    history = await store.history(place)
    agents = agents_of(place.config, place.env)
    states = await current(place, list(agents))

    async def one(service: str) -> ServiceStatus:
        found = states[service]
        health = await _health(place, agents[service].name, found)
        state = found.service
        return ServiceStatus(
            agent=agents[service].name,
            service=service,
            run=found.run,
            running=state.running if state else 0,
            health=health,
            drift=drift(history.current, service, found.run),
            last_event=state.last_event if state else "",
        )

    services = await parallel(one, agents)
    release = history.current.id if history.current else ""
    return Status(
        environment=place.env.name,
        release=release,
        services=tuple(services),
        notes=tuple(await _notes(place, history)),
    )


def drift(release: Release | None, service: str, run: Run | None) -> str:
    """Say how a service differs from what the last validated release lists; pure."""
    listed = release.after.get(service) if release else None
    if listed == run:
        return ""
    if listed is None:
        return "not part of a validated release" if run else ""
    if run is None:
        return f"missing; the record lists revision {listed.number}"
    if run.revision != listed.revision:
        return f"revision {run.number}; the record lists {listed.number}"
    return f"{run.desired} tasks desired; the record lists {listed.desired}"


async def _health(place: Place, agent: str, found: Current) -> str:
    """Say in a word what the agent answers through the load balancer."""
    if found.service is None or found.run is None:
        return "missing"
    if found.run.desired == 0:
        return "switched off"
    path = place.config.agent(agent).health_path
    answer = await elb.get(place.url(agent) + path)
    if answer.status != 200:
        return answer.error or f"HTTP {answer.status}"
    if answer.body.get("version") != found.run.version:
        return f"answers version {answer.body.get('version')}"
    return "healthy"


async def _notes(place: Place, history: History) -> Sequence[str]:
    """Explain who holds the lock, and what releases without an end mean."""
    lease = await lock.current(place)
    alive = lease is not None and not lock.dead(lease.holder) and not lock.expired(place, lease)
    notes = [f"locked by {lock.told(lease)}"] if lease and alive else []
    for release in history.unfinished:
        if alive and lease and release.holder == lease.holder.get("who"):
            notes.append(f"release {release.id} is {_words(release)}")
        else:
            notes.append(
                f"release {release.id} stopped while {_words(release)}: {release.holder} is gone; "
                "`deploy` or `rollback` takes it up"
            )
    return notes


def _words(release: Release) -> str:
    return str(release.state).replace("_", " ")


def _line(item: ServiceStatus, width: int) -> str:
    run = item.run
    what = f"{run.version:<12}  revision {run.number:<4}" if run else f"{'-':<12}  {'-':<13}"
    digest = run.digest[:19] if run else "-"
    count = f"{item.running}/{run.desired if run else 0}"
    drift_ = f"  ({item.drift})" if item.drift else ""
    return f"{item.agent:<{width}}  {what}  {digest:<19}  {count}  {item.health}{drift_}"
