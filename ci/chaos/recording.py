"""Faults on record: written before they are made, removed when they are undone.

A process that is killed in between leaves the record; the next command that changes or validates
the environment undoes the fault.
"""

from dataclasses import dataclass
from typing import Any

import anyio

from ci import release
from ci.aws import records
from ci.aws.records import Document
from ci.chaos.faults import Fault, parsed
from ci.errors import AcsoError, ChaosError
from ci.release.options import ReleaseOptions
from ci.release.records import lock

KIND = "chaos"


@dataclass(frozen=True, kw_only=True)
class Undone:
    """The faults that a killed process had left, and that are undone now."""

    environment: str
    faults: tuple[Fault, ...]

    def text(self) -> str:
        """Return the result for people."""
        names = ", ".join(f"{fault.kind} of {fault.agent}" for fault in self.faults)
        return f"undone in {self.environment}: {names or 'nothing, no fault is on record'}"

    def data(self) -> dict[str, Any]:
        """Return the result for machines."""
        faults = [fault.body() for fault in self.faults]
        return {"environment": self.environment, "undone": faults}


#: Seconds that an undo may take to be seen, and between two looks.
UNDO_SECONDS, PAUSE = 120.0, 1.0
STATE = "made"


async def record(context: release.ReleaseContext, fault: Fault) -> None:
    """Write a fault that is about to be made."""
    await records.put(context.aws, context.outputs.releases_table, _document(fault))


async def withdraw(context: release.ReleaseContext, fault: Fault) -> None:
    """Remove the record of a fault that AWS refused to make."""
    await records.remove(context.aws, context.outputs.releases_table, _document(fault))


async def undo(context: release.ReleaseContext, fault: Fault, say: release.Say) -> None:
    """Undo a fault, see that it is undone, and remove its record; not even Ctrl-C stops this.

    Nothing happens if it is not on record.

    Raises:
        ChaosError: it could not be undone; it stays on record.
    """
    last = "no answer"
    with anyio.move_on_after(UNDO_SECONDS, shield=True):
        while True:
            try:
                if fault not in await faults(context):
                    return
                await fault.undo(context)
                last = await fault.left(context)
                if not last:
                    await withdraw(context, fault)
                    say(f"undone: {fault.kind} of {fault.agent}")
                    return
            except AcsoError as error:
                last = str(error)
            await anyio.sleep(PAUSE)
    name = context.env.name
    message = f"{fault.kind} of {fault.agent} in {name} could not be undone: {last}"
    hint = f"an administrator repeats it: ./acso chaos --env {name} --undo"
    raise ChaosError(message, hint=hint)


async def faults(context: release.ReleaseContext) -> list[Fault]:
    """Return the faults on record."""
    found = await records.documents(context.aws, context.outputs.releases_table, KIND)
    return [parsed(item.body) for item in found]


async def undo_left(
    context: release.ReleaseContext,
    say: release.Say,
    options: ReleaseOptions = ReleaseOptions(),  # noqa: B008 (frozen)
) -> list[Fault]:
    """Undo the faults that a killed process left; return them.

    Raises:
        LockedError: the process that made them, or another one, is at work.
        ChaosError: one could not be undone.
    """
    if not await faults(context):
        return []

    async def work(_: Any) -> list[Fault]:
        return await undo_all(context, say)

    return await lock.under_lock(context, "undoing chaos", say, work, options=options)


async def undo_all(context: release.ReleaseContext, say: release.Say) -> list[Fault]:
    """Undo all faults on record, as the holder of the lock."""
    found = await faults(context)
    for fault in found:
        say(f"left by a process that was stopped: {fault.kind} of {fault.agent}")
        await undo(context, fault, say)
    return found


def _document(fault: Fault) -> Document:
    return Document(
        kind=KIND, key=f"{fault.kind}/{fault.agent}", state=STATE, owner=KIND, body=fault.body()
    )
