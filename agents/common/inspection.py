"""Routes by which the pipeline's validation looks at an agent from outside."""

from typing import Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, ValidationError

from agents.common.callers.auth import Person, Who
from agents.common.callers.calls import Call, CallError
from agents.common.errors import ProblemError, missing
from agents.common.runtime import Parts, Runtime
from agents.common.settings import Role
from agents.common.store import drill
from agents.common.store.state import ConflictError, Write, drill_pk

#: Rows of a drill that are read at once.
BATCH = 100
#: Attempts to remove a row while it changes.
ATTEMPTS = 20


class Caller(BaseModel):
    """Who a request's token belongs to."""

    name: str
    role: Role


class Peer(BaseModel):
    """What another agent answered: as whom it knows this one."""

    agent: str
    name: str
    role: Role


class ModelState(BaseModel):
    """Whether the model answers this task, with its role."""

    model: str | None
    status: Literal["ok", "failed", "not configured"]
    detail: str


class Removed(BaseModel):
    """How many stored documents of a drill were removed."""

    removed: int


def routes() -> APIRouter:
    """Return the routes, which every agent has."""
    router = APIRouter()
    router.get("/whoami")(whoami)
    router.get("/peers/{agent}")(peer)
    router.get("/model")(model)
    router.delete("/drills/{name}")(remove)
    return router


async def whoami(caller: Who) -> Caller:
    """Return who the request's token belongs to."""
    return Caller(name=caller.name, role=caller.role)


async def peer(agent: str = Path(pattern="^[a-z][a-z0-9-]{0,63}$"), *, parts: Parts) -> Peer:
    """Ask another agent who this one is, with the token that agents call each other with."""
    call = Call(agent=agent, method="GET", path="/whoami", timeout=10.0)
    try:
        reply = await parts.peers.send(call)
    except CallError as error:
        raise ProblemError(424, str(error)) from error
    if reply.status == 404:
        raise missing("agent", agent)
    try:
        known = Caller.model_validate(reply.body if reply.ok else None)
    except ValidationError:
        raise ProblemError(424, f"{agent} answered {reply.status}") from None
    return Peer(agent=agent, name=known.name, role=known.role)


async def model(parts: Parts) -> ModelState:
    """Ask the model for one word, and return whether it answered."""
    name = parts.model.name
    if name is None:
        return ModelState(model=None, status="not configured", detail="ACSO_MODEL is not set")
    problem = await parts.model.problem()
    status: Literal["ok", "failed"] = "failed" if problem else "ok"
    return ModelState(model=name, status=status, detail=problem or "it answered")


async def remove(
    _: Person, name: str = Path(pattern=f"^{drill.PATTERN}$"), *, parts: Parts
) -> Removed:
    """Remove all that a drill has stored in this agent; only people may."""
    count = 0
    pk, prefix = drill_pk(parts.settings.agent), f"{name}|"
    while True:
        rows = await parts.table.query(pk, limit=BATCH, after=prefix, newest=False)
        mine = [row.sk for row in rows if row.sk.startswith(prefix)]
        if not mine:
            return Removed(removed=count)
        for entry in mine:
            _name, of, id_ = entry.split("|", 2)
            count += await _removed(parts, of, id_)
            await _removed(parts, pk, entry)


async def _removed(parts: Runtime, pk: str, sk: str) -> bool:
    """Remove a row, whatever its version; return whether there was one."""
    for _ in range(ATTEMPTS):
        row = await parts.table.get(pk, sk)
        if row is None:
            return False
        try:
            await parts.table.write([Write(pk=pk, sk=sk, data=None, expected=row.version)])
            return True
        except ConflictError:
            continue
    raise ProblemError(503, f"{sk} changes all the time", headers={"Retry-After": "1"})
