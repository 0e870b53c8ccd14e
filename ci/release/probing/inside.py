"""The client of a prober: keeps one running while it is needed, and sends requests through it."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio

from ci.aws import ecs
from ci.aws.elb import Answer, not_examined
from ci.aws.failures import throttled, unanswered
from ci.aws.prober import Request
from ci.aws.probing import Probe
from ci.aws.probing.channel import Channel
from ci.common.concurrency import first
from ci.errors import AcsoError, AwsError, ProbeError
from ci.release.model import Say
from ci.release.observe.failures import describe
from ci.release.probing.task import Prober

POLL_SECONDS = 0.25  # between two looks for answers
BEAT_SECONDS = 10.0  # between two signs of life
LOOK_SECONDS = 5.0  # between two looks at the task
START_SECONDS = 120.0  # that a task may take to start: its image is pulled first
READY_SECONDS = 240.0  # that `ready` waits at most
ANSWER_SECONDS = 10.0  # that an answer may take beside the request's own time
PATIENCE_SECONDS = 30.0  # without a successful call of AWS, after which a prober counts as lost
FAILURES = 3  # starts that fail before `ready` gives up
PAUSES = (2.0, 30.0)  # seconds before another start: first, and at most
STOP_SECONDS = 10.0  # at most, to stop the task

#: Returns a prober that was not started, with a channel of its own.
Make = Callable[[], Awaitable[Prober]]


@dataclass(kw_only=True)
class _Waiting:
    """A request that was sent, and its answer once there is one."""

    answered: anyio.Event = field(default_factory=anyio.Event)
    answer: Answer | None = None

    def set(self, answer: Answer) -> None:
        self.answer = answer
        self.answered.set()


class InsideProbe(Probe):
    """Sends requests through a prober, which it starts when the first one comes."""

    def __init__(self, make: Make, *, outside: str, say: Say) -> None:
        self._make, self._outside, self._say = make, outside.rstrip("/"), say
        self._wanted, self._changed = anyio.Event(), anyio.Event()
        self._channel: Channel | None = None  # of a prober that is ready
        self._why = "the prober is starting"
        self._refused: AcsoError | None = None
        self._failures = 0
        self._waiting: dict[str, _Waiting] = {}
        self._numbers = itertools.count(1)

    def start(self) -> None:
        """Start a prober; returns at once."""
        self._wanted.set()

    async def ready(self) -> None:
        """Start a prober and return once it takes requests; raises `ProbeError`."""
        with anyio.move_on_after(READY_SECONDS):
            while self._failures < FAILURES:
                if await self._ready_channel():
                    return
        hint = self._refused.hint if self._refused else "./acso logs shows what it wrote"
        raise ProbeError(f"the load balancer cannot be looked at: {self._why}", hint=hint)

    async def send(self, request: Request) -> Answer:
        """Send a request through the prober."""
        answer = await self._send(request)
        self.unsent += not answer.examined
        return answer

    async def _send(self, request: Request) -> Answer:
        path = request.url.removeprefix(self._outside)
        if not request.url.startswith(f"{self._outside}/"):
            return not_examined(f"{request.url} is not below {self._outside}")
        channel = None
        with anyio.move_on_after(request.seconds):
            channel = await self._ready_channel()
        if channel is None:
            return not_examined(self._why)
        return await self._through(channel, replace(request, url=path))

    async def run(self) -> None:
        """Keep a prober running, from the first request until this is cancelled."""
        await self._wanted.wait()
        pause, longest = PAUSES
        while True:
            try:
                await self._session()
            except AcsoError as error:
                self._lose(str(error))
                # A missing permission stays missing; so does what is no error of a call.
                if not isinstance(error, AwsError) or error.action:
                    self._refused, self._failures = error, FAILURES
                    self._notify()
                    return
            pause = PAUSES[0] if self._failures <= 1 else min(2 * pause, longest)
            self._say(f"{self._why}; another one is started in {pause:g} s")
            await anyio.sleep(pause)

    async def _ready_channel(self) -> Channel | None:
        """Return the channel once a prober is ready; None if it will not be, or one has failed."""
        self._wanted.set()
        if self._channel is None and self._failures < FAILURES:
            await self._changed.wait()
        return self._channel

    async def _through(self, channel: Channel, request: Request) -> Answer:
        name = str(next(self._numbers))
        waiting = self._waiting[name] = _Waiting()
        seconds = request.seconds + ANSWER_SECONDS
        try:
            await channel.ask(name, request)
            with anyio.move_on_after(seconds):
                await waiting.answered.wait()
            if waiting.answer is None:
                await channel.withdraw(name)
        except (AwsError, ValueError) as error:
            return not_examined(str(error))
        finally:
            del self._waiting[name]
        return waiting.answer or not_examined(f"the prober did not answer within {seconds:g} s")

    async def _session(self) -> None:
        """Start a prober and serve until it ends."""
        prober = await self._make()
        await prober.stop_left(self._say)
        task = await prober.start()
        self._say(f"requests are sent from task {task.id}, inside the network")
        try:
            why = await self._serve(prober, task)
        finally:
            await _stop(prober, task, self._say)
        self._lose(f"prober {task.id} ended: {why}")

    async def _serve(self, prober: Prober, task: ecs.Task) -> str:
        """Deliver answers until the prober ends; return why it did."""
        now = anyio.current_time
        began = answered = looked = now()
        beaten = -BEAT_SECONDS
        while True:
            try:
                if now() - beaten >= BEAT_SECONDS:
                    await prober.channel.beat(next(self._numbers))
                    beaten = now()
                await self._deliver(prober.channel)
                if now() - looked >= LOOK_SECONDS:
                    task, looked = await prober.state(task), now()
                    if task.status == "STOPPED":
                        await self._deliver(prober.channel)
                        return describe(task)
                answered = now()
            except AwsError as error:
                patient = now() - answered < PATIENCE_SECONDS
                if not (patient and (throttled(error) or unanswered(error))):
                    raise
            if self._channel is None and now() - began > START_SECONDS:
                return f"it did not start within {START_SECONDS:g} s ({describe(task)})"
            await anyio.sleep(POLL_SECONDS)

    async def _deliver(self, channel: Channel) -> None:
        if self._channel is not None and not self._waiting:
            return
        found = await channel.answers()
        if found.pop("", None) is not None and self._channel is None:
            self._channel, self._failures = channel, 0
            self._notify()
        for name, answer in found.items():
            if waiting := self._waiting.get(name):  # else it comes too late
                waiting.set(answer)

    def _lose(self, why: str) -> None:
        self._channel, self._why = None, why
        self._failures += 1
        for waiting in self._waiting.values():
            waiting.set(not_examined(why))
        self._notify()

    def _notify(self) -> None:
        """Wake up who waits for a change."""
        self._changed.set()
        self._changed = anyio.Event()


async def _stop(prober: Prober, task: ecs.Task, say: Say) -> None:
    """Stop the task, also while this is being cancelled."""
    with anyio.move_on_after(STOP_SECONDS, shield=True) as scope:
        try:
            await prober.stop(task)
        except AwsError as error:
            say(f"prober {task.id} may run for another minute, it could not be stopped: {error}")
    if scope.cancelled_caught:
        say(f"prober {task.id} may run for another minute: it could not be stopped in time")


@asynccontextmanager
async def probing_inside(make: Make, *, outside: str, say: Say) -> AsyncIterator[Probe]:
    """Yield a probe that sends requests from inside the network; its task ends with the block.

    Args:
        make: returns a prober that was not started.
        outside: the load balancer's base URL, with which URLs of requests begin.
        say: receives progress messages, one line each.
    """
    probe = InsideProbe(make, outside=outside, say=say)
    # Shielded: a rollback that runs although the command is being cancelled still needs it.
    scope = anyio.CancelScope(shield=True)

    async def keep() -> None:
        with scope:
            await probe.run()

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(keep)
            try:
                yield probe
            finally:
                scope.cancel()
    except ExceptionGroup as errors:
        raise first(errors) from errors
