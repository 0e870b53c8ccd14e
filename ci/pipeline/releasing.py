"""Run a release with interrupt handling, lock waiting and notifications."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from ci import chaos, release
from ci.pipeline import environments
from ci.pipeline.interrupts import interrupts
from ci.pipeline.probing import probing
from ci.pipeline.types import OnCancel
from ci.report.progress import stage


@dataclass(frozen=True, kw_only=True)
class Releasing:
    """How releases are run.

    `wait` is the seconds to wait for the environment's lock, `on_cancel` is what Ctrl-C does, and
    `webhook` is the URL that notifications go to beside the SNS topic (empty: none). `relate` tells
    how commits relate to the source that is deployed.
    """

    wait: int
    on_cancel: OnCancel
    webhook: str
    relate: release.Relate | None = None

    async def deploy(
        self,
        context: release.ReleaseContext,
        pushed: Sequence[release.Image],
        request: release.Request,
        expected: release.Facts | None = None,
    ) -> release.Outcome:
        """Release images to an environment; raises an `AcsoError` unless it succeeds."""

        async def work(say: release.Say, options: release.ReleaseOptions) -> release.Outcome:
            ready = replace(options, expected=expected, verify=verify, relate=self.relate)
            validate = environments.validate
            async with probing(context, say, pushed) as seen:
                return await release.deploy(seen, pushed, request, validate, say, ready)

        async def verify(ready: release.ReleaseContext) -> None:
            await environments.verify(ready, pushed)

        return await self._run("release", context, work)

    async def rollback(
        self, context: release.ReleaseContext, to: str | None, request: release.Request
    ) -> release.Outcome:
        """Roll an environment back; raises an `AcsoError` unless it succeeds."""

        async def work(say: release.Say, options: release.ReleaseOptions) -> release.Outcome:
            validate = environments.validate
            async with probing(context, say) as seen:
                seen.probe.start()  # while the services move
                return await release.rollback(seen, to, request, validate, say, options)

        return await self._run("rollback", context, work)

    async def _run(
        self,
        name: str,
        context: release.ReleaseContext,
        work: Callable[[release.Say, release.ReleaseOptions], Awaitable[release.Outcome]],
    ) -> release.Outcome:
        async with stage(name) as span, self._options(context, span.say) as options:
            await chaos.undo_left(context, span.say, options)
            outcome = await work(span.say, options)
            span.result = outcome.summary()
            outcome.raise_for_failure()
        return outcome

    @asynccontextmanager
    async def _options(
        self, context: release.ReleaseContext, say: release.Say
    ) -> AsyncIterator[release.ReleaseOptions]:
        with interrupts() as stop:
            async with release.notifying(context, say, webhook=self.webhook) as notify:
                yield release.ReleaseOptions(
                    wait=self.wait,
                    on_cancel=release.OnCancel(self.on_cancel.value),
                    stop=stop,
                    notify=notify,
                )
