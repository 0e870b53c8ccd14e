"""From where requests reach a load balancer: from this machine, or from a task in its network."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from ci import infra, release
from ci.aws import elb
from ci.aws.probing import DIRECT
from ci.aws.probing.channel import Channel
from ci.config import PLATFORMS
from ci.errors import ProbeError


@asynccontextmanager
async def probing(
    context: release.ReleaseContext, say: release.Say, images: Sequence[release.Image] = ()
) -> AsyncIterator[release.ReleaseContext]:
    """Yield an environment with a probe that reaches its load balancer.

    Args:
        context: the environment.
        say: receives progress messages, one line each.
        images: of agents, for the task that sends the requests; without any, that of a service.
    """
    internal, chosen = context.env.load_balancer.internal, context.probe is not DIRECT
    if chosen or not internal or await _reached(context):
        yield context
        return
    make = partial(_prober, context, images)
    async with release.probing_inside(make, outside=context.outputs.url, say=say) as probe:
        yield replace(context, probe=probe)


async def _reached(context: release.ReleaseContext) -> bool:
    """Return whether this machine reaches the load balancer.

    An internal one has a private address, at which something else may answer here.
    """
    answer = await elb.get(f"{context.outputs.url.rstrip('/')}/")
    return answer.status == 404 and answer.body.get("detail") == elb.NO_AGENT


async def _prober(
    context: release.ReleaseContext, images: Sequence[release.Image]
) -> release.Prober:
    """Return a prober as the infrastructure is now.

    Raises:
        ProbeError: the infrastructure or an image is missing.
    """
    env = context.env
    outputs = await infra.outputs(context)
    if outputs is None or not (outputs.probe_role and outputs.probe_security_group):
        message = f"the infrastructure of {env.name} has no role and security group for probes"
        hint = f"an administrator adds them: ./acso deploy --env {env.name}"
        raise ProbeError(message, hint=hint)
    image = next(iter(images or await release.running_images(context)), None)
    if image is None:
        message = f"no agent runs in {env.name} whose image could send requests"
        raise ProbeError(message, hint=f"./acso deploy --env {env.name}")
    settings = release.ProberSettings(
        prefix=env.prefix,
        region=env.region,
        cluster=outputs.cluster,
        subnets=outputs.subnets,
        security_group=outputs.probe_security_group,
        role=outputs.probe_role,
        execution_role=outputs.execution_role,
        log_group=outputs.log_group,
        table=outputs.state_table,
        url=outputs.url,
        image=image.reference,
        architecture=PLATFORMS[context.config.project.platform],
        tags={**env.tags, "project": "acso", "environment": env.name},
    )
    channel = Channel(aws=context.aws, table=outputs.state_table)
    return release.Prober(aws=context.aws, settings=settings, channel=channel)
