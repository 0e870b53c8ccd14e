"""Promote a validated release of one environment to another: nothing is built or pushed."""

from dataclasses import replace

from ci import release
from ci.aws.target import Target
from ci.pipeline import environments
from ci.pipeline.releasing import Releasing
from ci.report.progress import stage


async def promote(
    source: release.ReleaseContext,
    id_: str | None,
    target: Target,
    request: release.Request,
    releasing: Releasing,
) -> release.Outcome:
    """Release to an environment what another one has validated; raises unless it succeeds.

    Args:
        source: the environment that has validated it.
        id_: its release; None: the last validated one.
        target: the environment to release to.
        request: who asks. Its commit and branch, if given, are recorded in place of the
            release's own.
        releasing: how the release is run.
    """
    async with stage("preconditions") as span:
        found = await release.promotion(source, id_, target.aws, target.env)
        span.result = found.request.promoted_from
        if not releasing.wait:
            await environments.require_unlocked(target, span.say)
    context = await environments.prepare(target)
    known = {
        name: value
        for name in ("commit", "branch", "actor")
        if (value := getattr(request, name)) or name == "actor"
    }
    return await releasing.deploy(context, found.images, replace(found.request, **known))
