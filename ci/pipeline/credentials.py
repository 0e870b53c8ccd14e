"""Credentials for AWS: access keys given as secrets, or temporary ones for an OIDC identity."""

from collections.abc import Sequence
from dataclasses import dataclass

import dagger

from ci.aws import partitions
from ci.aws.failures import DENIED
from ci.aws.session import Credentials, assume_with_token, expected_account
from ci.config import Config, Environment
from ci.errors import AwsError, UsageError
from ci.infra import trust
from ci.pipeline import oidc


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


@dataclass(frozen=True, kw_only=True)
class Job:
    """A CI job that can have OIDC tokens.

    Attributes:
        url: where the CI system issues them (`ACTIONS_ID_TOKEN_REQUEST_URL` on GitHub).
        token: authorises the request for one (`ACTIONS_ID_TOKEN_REQUEST_TOKEN`).
    """

    url: dagger.Secret
    token: dagger.Secret

    async def credentials(
        self, config: Config, environment: Environment, kind: str, endpoint: str | None
    ) -> Credentials:
        """Return temporary credentials (one hour) of a role of an environment.

        Args:
            config: acso.toml, which says whom the role trusts.
            environment: whose role it is.
            kind: `ci.infra.trust.DEPLOY` or `PROMOTE`.
            endpoint: the STS endpoint, where it is not the default one.

        Raises:
            WrongAccountError: acso.toml names no account for the environment.
            AwsError: no token was issued, or STS refused it; the message names the token's subject.
        """
        account = expected_account(environment, endpoint)
        token = await oidc.fetch(await self.url.plaintext(), await self.token.plaintext())
        partition = partitions.partition(environment.region)
        role = f"arn:{partition}:iam::{account}:role/{trust.role(environment, kind)}"
        try:
            return await assume_with_token(
                role, token, region=environment.region, endpoint=endpoint
            )
        except AwsError as error:
            if not DENIED.search(error.code):
                raise
            trusted = trust.subjects(config, environment, kind)
            raise _denied(error, role, oidc.subject(token), trusted) from None


def _denied(error: AwsError, role: str, found: str, trusted: Sequence[str]) -> AwsError:
    """Return STS's refusal with the subject that it is about, which STS does not name."""
    lines = [
        str(error),
        f"role: {role}",
        f"subject of this job's token: {found or 'cannot be read'}",
        f"subjects that the role trusts, by acso.toml: {', '.join(trusted) or 'none'}",
    ]
    return AwsError(
        "\n  ".join(lines),
        service=error.service,
        operation=error.operation,
        code=error.code,
        action=error.action,
        hint=f"{trust.advice(found, trusted)} (docs/aws.md)",
    )
