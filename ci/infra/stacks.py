"""Create, update and delete a stack: by change set, waiting for its end, reporting its events."""

import dataclasses
import datetime
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import anyio

from ci.aws import cloudformation
from ci.aws.cloudformation import ChangeSet, DesiredStack, Event, ResourceChange, Stack
from ci.aws.session import Aws
from ci.errors import AwsError, InfrastructureError

Say = Callable[[str], None]
T = TypeVar("T")
#: Prefix of our change sets' names; those left by killed runs are removed.
PREFIX = "acso-"
#: Age after which a change set of ours is not in use: every run executes its own earlier.
STALE = datetime.timedelta(minutes=15)
#: Statuses of a stack whose creation failed; it can only be deleted.
CREATION_FAILED = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED")
#: In the reason of a change set that CloudFormation's early validation refused.
EARLY = "EarlyValidation"
#: Status of a stack without resources, whose first change set is not executed yet.
IN_REVIEW = "REVIEW_IN_PROGRESS"
NOT_CREATED = (*CREATION_FAILED, IN_REVIEW)
DONE = ("CREATE_COMPLETE", "UPDATE_COMPLETE")
#: Statuses that need a manual command to continue.
STUCK = {
    "UPDATE_ROLLBACK_FAILED": "aws cloudformation continue-update-rollback --stack-name {name}",
    "DELETE_FAILED": "aws cloudformation delete-stack --stack-name {name}",
}
TIMEOUT_SECONDS = 1800.0  # seconds; a load balancer and a NAT gateway take minutes
FIRST_PAUSE, LAST_PAUSE = 0.1, 2.0  # seconds between two polls: first, and at most
CLEANUP_SECONDS = 10.0  # at most, to remove a change set when a run is interrupted


class NotPermittedError(InfrastructureError):
    """The credentials may compute the changes of a stack, but not make them."""


async def create_or_update(aws: Aws, desired: DesiredStack, say: Say) -> Stack:
    """Create or update a stack; does nothing if nothing would change.

    After an earlier, killed run, this waits for its operation to end, and deletes and creates
    again a stack whose creation failed.

    Raises:
        InfrastructureError: it failed; the message names the first resource that failed, and why.
    """
    old = await _prepare(aws, desired.name, say)
    if old is not None and await _is_current(aws, old, desired):
        return old
    async with _change_set(aws, desired, old) as made:
        if made.found.empty and old is not None:
            return old
        await _require_computed(made)
        say(f"{desired.name}: {len(made.found.changes)} changes")
        last = await cloudformation.last_event(aws, desired.name)
        await made.execute()
    return await _wait_until_done(aws, desired.name, _EventReporter(last=last, say=say))


async def changes(aws: Aws, desired: DesiredStack) -> list[ResourceChange]:
    """Return what `create_or_update` would change; changes no resource.

    Raises:
        InfrastructureError: an operation is under way, or CloudFormation refuses the template.
    """
    found = await cloudformation.stack(aws, desired.name)
    if found is not None and found.busy:
        message = f"stack {desired.name} is {found.status}: its changes cannot be computed now"
        raise InfrastructureError(message, hint="wait until the operation has ended")
    if found is not None and found.status in CREATION_FAILED:
        # Such a stack accepts no change set: compute the changes under another name.
        desired = dataclasses.replace(desired, name=f"{desired.name}-preview")
        found = await cloudformation.stack(aws, desired.name)
    if found is not None:
        _check_not_stuck(found)
        if await _is_current(aws, found, desired):
            return []
    async with _change_set(aws, desired, found) as made:
        if not made.found.empty:
            await _require_computed(made)
        return list(made.found.changes)


async def remove(aws: Aws, name: str, say: Say) -> None:
    """Delete a stack and wait until it is gone; does nothing if it does not exist.

    Raises:
        InfrastructureError: it is protected, or one of its resources cannot be deleted.
    """
    found = await _wait_for_earlier_run(aws, name, say)
    if found is None:
        return
    if found.protected:
        message = f"stack {name} is protected from deletion"
        raise InfrastructureError(
            message, hint="nothing was deleted; turn off termination protection first"
        )
    last = await cloudformation.last_event(aws, name)
    await cloudformation.delete_stack(aws, name)
    await _wait_until_done(aws, name, _EventReporter(last=last, say=say))


def stale_change_sets(made: Mapping[str, datetime.datetime], now: datetime.datetime) -> list[str]:
    """Return our change sets that are too old to be in use; pure."""
    return [name for name, at in made.items() if name.startswith(PREFIX) and now - at >= STALE]


async def _wait_for_earlier_run(aws: Aws, name: str, say: Say) -> Stack | None:
    """Wait for an operation of an earlier run; return the stack, None if it does not exist."""
    found = await cloudformation.stack(aws, name)
    if found is None or not found.busy:
        return found
    say(f"{name}: waiting for {found.status} of an earlier run")
    last = await cloudformation.last_event(aws, name)
    return await _wait_until_idle(aws, name, _EventReporter(last=last, say=say))


async def _prepare(aws: Aws, name: str, say: Say) -> Stack | None:
    """Return the stack once it accepts a change set, None once it does not exist."""
    found = await _wait_for_earlier_run(aws, name, say)
    if found is None:
        return None
    if found.status in CREATION_FAILED:
        say(f"{name}: {found.status}; deleting it and creating it again")
        await remove(aws, name, say)
        return None
    _check_not_stuck(found)
    made = await cloudformation.change_sets(aws, name)
    for left in stale_change_sets(made, datetime.datetime.now(datetime.UTC)):
        await cloudformation.delete_change_set(aws, name, left)
    return found if found.status != IN_REVIEW else None


async def _is_current(aws: Aws, old: Stack, desired: DesiredStack) -> bool:
    """Return whether template, parameters and tags of a stack are already the desired ones.

    Its change set would be empty, but AWS needs ten seconds to compute it.
    """
    return (
        old.status in DONE
        and dict(old.parameters) == dict(desired.parameters)
        and dict(old.tags) == dict(desired.tags)
        and await cloudformation.template(aws, old.name) == desired.template
    )


def _check_not_stuck(found: Stack) -> None:
    if found.status in STUCK:
        message = f"stack {found.name} is {found.status}: {found.reason or 'no reason given'}"
        raise InfrastructureError(message, hint=STUCK[found.status].format(name=found.name))


async def _require_computed(made: "_PreparedChangeSet") -> None:
    """Raise `InfrastructureError`, with what is wrong, if the changes could not be computed."""
    if made.found.status != "FAILED":
        return
    lines = [f"stack {made.stack}: {made.found.reason}"]
    if EARLY in made.found.reason:
        try:
            lines += await cloudformation.validation_failures(made.aws, made.arn)
        except AwsError as error:
            lines.append(f"what it found cannot be read: {error}")
    raise InfrastructureError("\n  ".join(lines))


@dataclass(kw_only=True)
class _PreparedChangeSet:
    """A change set that CloudFormation has computed, to be read and perhaps executed."""

    aws: Aws
    stack: str
    name: str
    arn: str
    found: ChangeSet
    executed: bool = False

    async def execute(self) -> None:
        """Execute it; raises `InfrastructureError` if the credentials do not allow that."""
        try:
            await cloudformation.execute_change_set(self.aws, self.stack, self.name)
        except AwsError as error:
            if "AccessDenied" not in error.code:
                raise
            # CI's role may create change sets, but not execute them.
            lines = [f"these credentials may not update stack {self.stack}; its changes:"]
            message = "\n  ".join([*lines, *map(str, self.found.changes)])
            hint = "an administrator applies them with ./acso deploy"
            raise NotPermittedError(message, hint=hint) from error
        self.executed = True


@asynccontextmanager
async def _change_set(
    aws: Aws, desired: DesiredStack, old: Stack | None
) -> AsyncIterator[_PreparedChangeSet]:
    """Create a change set; remove it afterwards unless it was executed."""
    new = old is None or old.status == IN_REVIEW
    name = f"{PREFIX}{uuid.uuid4().hex[:12]}"
    made = None

    async def look() -> ChangeSet | None:
        found = await cloudformation.change_set(aws, desired.name, name)
        return found if found.done else None

    try:
        arn = await cloudformation.create_change_set(aws, desired, name, new=new)
        found = await _poll(look, f"the changes of stack {desired.name} are not computed")
        made = _PreparedChangeSet(aws=aws, stack=desired.name, name=name, arn=arn, found=found)
        yield made
    finally:
        if made is None or not made.executed:
            # An error here must not hide the original one; the next run removes the change set.
            with anyio.move_on_after(CLEANUP_SECONDS, shield=True), suppress(AwsError):
                await cloudformation.delete_change_set(aws, desired.name, name)
                if old is None:
                    await _discard_review(aws, desired.name)


async def _discard_review(aws: Aws, name: str) -> None:
    """Delete the empty stack that a change set created, unless another run uses it."""
    found = await cloudformation.stack(aws, name)
    if found is not None and found.status == IN_REVIEW:
        await cloudformation.delete_stack(aws, name)


@dataclass(kw_only=True)
class _EventReporter:
    """Reports a stack's events; keeps the last event and the first failure."""

    last: str
    say: Say
    failure: str = ""

    def look(self, events: list[Event]) -> None:
        """Report new events."""
        for event in events:
            self.last = event.id
            reason = f": {event.reason}" if event.reason else ""
            self.say(f"{event.resource} {event.status}{reason}")
            if event.failed and not self.failure:
                self.failure = f"{event.resource} ({event.kind}){reason}"


async def _wait_until_done(aws: Aws, name: str, watch: _EventReporter) -> Stack:
    found = await _wait_until_idle(aws, name, watch)
    if found is None:
        return Stack(name=name, status="DELETE_COMPLETE")
    if found.status in DONE:
        return found
    why = watch.failure or found.reason or "no reason given"
    message = f"stack {name} is {found.status}: {why}"
    raise InfrastructureError(message, hint="fix the cause and deploy again")


async def _wait_until_idle(aws: Aws, name: str, watch: _EventReporter) -> Stack | None:
    """Wait until no operation is in progress; report events as they happen."""
    last: Stack | None = None

    async def look() -> bool | None:
        nonlocal last
        last = await cloudformation.stack(aws, name)
        watch.look(await cloudformation.events(aws, name, since=watch.last) if last else [])
        return None if last is not None and last.busy else True

    await _poll(look, f"stack {name} is still busy", hint="the next deploy waits for it")
    return last


async def _poll(look: Callable[[], Awaitable[T | None]], late: str, *, hint: str = "") -> T:
    """Call a function until it returns a value.

    Raises:
        InfrastructureError: there was no value for `TIMEOUT_SECONDS`; `late` is the message.
    """
    pause = FIRST_PAUSE
    with anyio.move_on_after(TIMEOUT_SECONDS):
        while True:
            found = await look()
            if found is not None:
                return found
            await anyio.sleep(pause)
            pause = min(pause * 1.5, LAST_PAUSE)
    message = f"{late} after {TIMEOUT_SECONDS:.0f} s"
    raise InfrastructureError(message, hint=hint)
