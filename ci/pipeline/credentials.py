"""Credentials for AWS: access keys given as secrets, or temporary ones for an OIDC identity."""

import dagger

from ci.aws import oidc
from ci.aws.session import Credentials, assume_with_token
from ci.config import Environment
from ci.errors import UsageError


async def from_secrets(
    key_id: dagger.Secret, secret: dagger.Secret, token: dagger.Secret | None
) -> Credentials:
    """Return the access key that was given as secrets."""
    return Credentials(
        access_key_id=await key_id.plaintext(),
        secret_access_key=await secret.plaintext(),
        session_token=await token.plaintext() if token else None,
    )


async def webhook(secret: dagger.Secret | None) -> str:
    """Return a webhook's URL, empty if there is none; raises `UsageError` if it is not a URL."""
    url = (await secret.plaintext()).strip() if secret else ""
    if secret and not url.startswith(("https://", "http://")):
        message = "the webhook is not an http(s) URL"  # it may be a secret, so it is not shown
        raise UsageError(
            message, hint="name it with --webhook env://NAME, file://PATH, cmd://COMMAND"
        )
    return url


async def from_oidc(
    environment: Environment, url: dagger.Secret, token: dagger.Secret, endpoint: str | None
) -> Credentials:
    """Return temporary credentials (one hour) of an environment's deploy role, for a CI job.

    Args:
        environment: the environment to deploy.
        url: where the CI system issues OIDC tokens (`ACTIONS_ID_TOKEN_REQUEST_URL` on GitHub).
        token: authorises the request for an OIDC token (`ACTIONS_ID_TOKEN_REQUEST_TOKEN`).
        endpoint: the STS endpoint, where it is not the default one.

    Raises:
        AwsError: no token was issued, or STS refused it.
    """
    identity = await oidc.fetch(await url.plaintext(), await token.plaintext())
    role = f"arn:aws:iam::{environment.account}:role/{environment.prefix}-deploy"
    return await assume_with_token(role, identity, region=environment.region, endpoint=endpoint)
