"""Releases with people around: one who may stop them, and some who want to be told."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ci import release
from ci.pipeline import environments
from ci.pipeline.interrupts import interrupts
from ci.pipeline.types import OnCancel
from ci.report.progress import stage


@dataclass(frozen=True, kw_only=True)
class Attended:
    """Releases as their flags want them: whether they wait, what a stop means, who is told."""

    wait: int
    on_cancel: OnCancel
    webhook: str

    async def deploy(
        self,
        place: release.Place,
        pushed: Sequence[release.Image],
        request: release.Request,
        promised: release.Facts | None = None,
    ) -> release.Outcome:
        """Release images to a place; raises if that is no success."""

        async def work(say: release.Say, manner: release.Manner) -> release.Outcome:
            validate = environments.smoke(place)
            return await release.deploy(place, pushed, request, validate, say, manner)

        return await self._done("release", place, work, promised)

    async def rollback(
        self, place: release.Place, to: str | None, request: release.Request
    ) -> release.Outcome:
        """Return a place to an earlier release; raises if that is no success."""

        async def work(say: release.Say, manner: release.Manner) -> release.Outcome:
            validate = environments.smoke(place)
            return await release.rollback(place, to, request, validate, say, manner)

        return await self._done("rollback", place, work)

    async def _done(
        self,
        name: str,
        place: release.Place,
        work: Callable[[release.Say, release.Manner], Awaitable[release.Outcome]],
        promised: release.Facts | None = None,
    ) -> release.Outcome:
        async with stage(name) as span, self._manner(place, span.say, promised) as manner:
            outcome = await work(span.say, manner)
            span.result = outcome.summary()
            outcome.raise_for_failure()
        return outcome

    @asynccontextmanager
    async def _manner(
        self, place: release.Place, say: release.Say, promised: release.Facts | None
    ) -> AsyncIterator[release.Manner]:
        with interrupts() as stop:
            async with release.notifying(place, say, webhook=self.webhook) as notify:
                yield release.Manner(
                    wait=self.wait,
                    on_cancel=release.OnCancel(self.on_cancel.value),
                    stop=stop,
                    promised=promised,
                    notify=notify,
                )
