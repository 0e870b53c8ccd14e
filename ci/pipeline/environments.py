"""What deploy, rollback and verify do with an environment, beside releasing to it."""

from collections.abc import Sequence

import validation
from ci import infra, release
from ci.aws.session import Aws
from ci.config import Config, Environment
from ci.errors import UsageError
from ci.report.progress import stage


async def found(aws: Aws, config: Config, environment: Environment) -> release.Place | None:
    """Return an environment whose infrastructure stands, None if it was never applied."""
    outputs = await infra.outputs(aws, config, environment)
    if outputs is None:
        return None
    return release.Place(aws=aws, config=config, env=environment, outputs=outputs)


async def standing(aws: Aws, config: Config, environment: Environment) -> release.Place:
    """Return an environment whose infrastructure stands; raises where it was never applied."""
    place = await found(aws, config, environment)
    if place is None:
        message = f"nothing was ever deployed to {environment.name}"
        raise UsageError(message, hint=f"acso deploy --env {environment.name}")
    return place


async def free(aws: Aws, config: Config, environment: Environment, say: release.Say) -> None:
    """Raise `LockedError` if another process releases here now: told before long work."""
    place = await found(aws, config, environment)
    if place:
        await release.refuse_if_held(place, say)


async def applied(aws: Aws, config: Config, environment: Environment) -> release.Place:
    """Bring the registry's and the environment's stacks to their templates."""
    async with stage("infrastructure") as span:
        await infra.apply_registry(aws, config, span.say)
        outputs = await infra.apply(aws, config, environment, span.say)
    return release.Place(aws=aws, config=config, env=environment, outputs=outputs)


async def verified(place: release.Place, found: Sequence[release.Image]) -> release.Verified:
    """Look at what a release of these images stands on; raises `VerifyError` with every problem."""
    async with stage("verify") as span:
        looked = await release.verify(place, found)
        span.result = looked.summary()
        looked.raise_for_failure()
    return looked


def smoke(place: release.Place) -> release.Validate:
    """Return the smoke checks of an environment as the function that a release ends with."""

    async def validate() -> validation.Report:
        return await validation.run("smoke", place.aws, place.config, place.env, place.outputs.url)

    return validate
