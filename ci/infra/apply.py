"""Bringing a stack to its template: by change set, waited for, its events told as they come."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from ci.aws import cloudformation
from ci.aws.cloudformation import ResourceChange, Stack, Wanted
from ci.aws.session import Aws
from ci.errors import InfrastructureError

Say = Callable[[str], None]
#: Change sets of this name are ours; leftovers of killed runs are removed.
PREFIX = "acso-"
#: A stack in one of these never came to be: it can only be deleted.
NEVER_MADE = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "REVIEW_IN_PROGRESS")
PATIENCE = 1800.0  # seconds; a load balancer and a NAT gateway take minutes
SHORT, LONG = 0.1, 2.0  # seconds between two looks: first, and at most


async def bring(aws: Aws, wanted: Wanted, say: Say) -> Stack:
    """Create or update a stack; does nothing where nothing would change.

    What an earlier, killed run left is taken up: an operation under way is waited for, a stack
    that never came to be is deleted and made anew.

    Raises:
        InfrastructureError: the stack did not get there; the first resource that failed says why.
    """
    old = await _ready(aws, wanted.name, say)
    name = f"{PREFIX}{uuid.uuid4().hex[:12]}"
    await cloudformation.create_change_set(aws, wanted, name, new=old is None)
    found = await _worked_out(aws, wanted.name, name)
    if found.empty and old is not None:
        await cloudformation.delete_change_set(aws, wanted.name, name)
        return old
    if found.status == "FAILED":
        message = f"stack {wanted.name}: {found.reason}"
        raise InfrastructureError(message)
    say(f"{wanted.name}: {len(found.changes)} changes")
    seen = {event.id for event in await _events(aws, wanted.name)}
    await cloudformation.execute_change_set(aws, wanted.name, name)
    return await _finished(aws, wanted.name, seen, say)


async def changes(aws: Aws, wanted: Wanted) -> list[ResourceChange]:
    """Return what `bring` would change; nothing that lasts is touched."""
    found = await cloudformation.stack(aws, wanted.name)
    new = found is None or found.status in NEVER_MADE
    if found is not None and new and found.status != "REVIEW_IN_PROGRESS":
        message = f"stack {wanted.name} is {found.status}: a deploy would make it anew"
        raise InfrastructureError(message, hint="acso deploy")
    name = f"{PREFIX}{uuid.uuid4().hex[:12]}"
    await cloudformation.create_change_set(aws, wanted, name, new=new)
    worked_out = await _worked_out(aws, wanted.name, name)
    await cloudformation.delete_change_set(aws, wanted.name, name)
    if new:  # a change set that creates leaves a stack in review, without resources
        await cloudformation.delete_stack(aws, wanted.name)
    if worked_out.status == "FAILED" and not worked_out.empty:
        message = f"stack {wanted.name}: {worked_out.reason}"
        raise InfrastructureError(message)
    return list(worked_out.changes)


async def remove(aws: Aws, name: str, say: Say) -> None:
    """Delete a stack and wait until it is gone; does nothing where there is none."""
    found = await cloudformation.stack(aws, name)
    if found is None:
        return
    seen = {event.id for event in await _events(aws, name)}
    await cloudformation.delete_stack(aws, name)
    await _finished(aws, name, seen, say)


async def _ready(aws: Aws, name: str, say: Say) -> Stack | None:
    """Return the stack once it can be updated, None once it can be created."""
    found = await cloudformation.stack(aws, name)
    if found is not None and found.busy:
        say(f"{name}: waiting for {found.status} of an earlier run")
        found = await _settled(aws, name, _Watch(seen=set(), say=say))
    if found is not None and found.status in NEVER_MADE:
        say(f"{name}: {found.status}, made anew")
        await remove(aws, name, say)
        return None
    if found is not None:
        for left in await cloudformation.change_sets(aws, name):
            if left.startswith(PREFIX):
                await cloudformation.delete_change_set(aws, name, left)
    return found


async def _worked_out(aws: Aws, stack: str, name: str) -> cloudformation.ChangeSet:
    pause = SHORT
    with anyio.fail_after(PATIENCE):
        while not (found := await cloudformation.change_set(aws, stack, name)).done:
            await anyio.sleep(pause)
            pause = min(pause * 1.5, LONG)
    return found


@dataclass(kw_only=True)
class _Watch:
    """The events seen of a stack, and the first failure among the new ones."""

    seen: set[str]
    say: Say
    failure: str = ""

    def look(self, events: list[cloudformation.Event]) -> None:
        """Tell what is new."""
        for event in events:
            if event.id in self.seen:
                continue
            self.seen.add(event.id)
            reason = f": {event.reason}" if event.reason else ""
            self.say(f"{event.resource} {event.status}{reason}")
            if event.failed and not self.failure:
                self.failure = f"{event.resource} ({event.kind}){reason}"


async def _finished(aws: Aws, name: str, seen: set[str], say: Say) -> Stack:
    watch = _Watch(seen=seen, say=say)
    found = await _settled(aws, name, watch)
    if found is None:
        return Stack(name=name, status="DELETE_COMPLETE")
    if found.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        return found
    why = watch.failure or found.reason or "no reason given"
    message = f"stack {name} is {found.status}: {why}"
    raise InfrastructureError(message, hint="mend the cause and deploy again; nothing else is left")


async def _settled(aws: Aws, name: str, watch: _Watch) -> Stack | None:
    """Wait until no operation is under way; tell events as they come."""
    pause = SHORT
    try:
        with anyio.fail_after(PATIENCE):
            while True:
                found = await cloudformation.stack(aws, name)
                watch.look(await _events(aws, name) if found else [])
                if found is None or not found.busy:
                    return found
                await anyio.sleep(pause)
                pause = min(pause * 1.5, LONG)
    except TimeoutError:
        message = f"stack {name} is still busy after {PATIENCE:.0f} s"
        raise InfrastructureError(message, hint="the next deploy waits for it") from None


async def _events(aws: Aws, name: str) -> list[cloudformation.Event]:
    return await cloudformation.events(aws, name)
