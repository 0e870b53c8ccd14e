"""The keys that a call of the pipeline has for AWS: given as secrets, or lent for an identity."""

import dagger

from ci.aws import oidc
from ci.aws.session import Credentials, assume_with_token
from ci.config import Environment
from ci.errors import UsageError


async def given(
    key_id: dagger.Secret, secret: dagger.Secret, token: dagger.Secret | None
) -> Credentials:
    """Return keys that were given by hand."""
    return Credentials(
        access_key_id=await key_id.plaintext(),
        secret_access_key=await secret.plaintext(),
        session_token=await token.plaintext() if token else None,
    )


async def webhook(secret: dagger.Secret | None) -> str:
    """Return the URL of a webhook, empty if there is none; raises `UsageError` if it is no URL."""
    url = (await secret.plaintext()).strip() if secret else ""
    if secret and not url.startswith(("https://", "http://")):
        message = "the webhook is no http(s) URL"  # which it might be by a slip, so not told
        raise UsageError(message, hint="--webhook names it: env://NAME, file://PATH, cmd://COMMAND")
    return url


async def lent(
    environment: Environment, url: dagger.Secret, right: dagger.Secret, endpoint: str | None
) -> Credentials:
    """Return an hour's keys of an environment's deploy role, for the identity of a CI run.

    Args:
        environment: whose role it is.
        url: where the CI system gives out identity tokens.
        right: the right to ask for one.
        endpoint: of AWS STS, where it is not AWS's own.

    Raises:
        AwsError: there is no token, or AWS does not take it.
    """
    identity = await oidc.fetch(await url.plaintext(), await right.plaintext())
    role = f"arn:aws:iam::{environment.account}:role/{environment.prefix}-deploy"
    return await assume_with_token(role, identity, region=environment.region, endpoint=endpoint)
