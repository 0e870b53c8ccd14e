"""The tokens of people and agents who call the agents: shown, replaced, revoked.

The agents read them again within 30 seconds; no service is rolled out. Changing them needs an
administrator; the deploy role reads them for validation.
"""

import json
import secrets
from dataclasses import dataclass
from typing import Any

from ci.aws import tokens
from ci.errors import UsageError
from ci.release.model import ReleaseContext

#: Bytes of randomness in a token.
STRENGTH = 36


@dataclass(frozen=True, kw_only=True)
class TokenResult:
    """The token of one person."""

    caller: str
    token: str

    def text(self) -> str:
        """Return the token alone, for `$(...)`."""
        return self.token

    def data(self) -> dict[str, Any]:
        """Return the result for machines."""
        return {"caller": self.caller, "token": self.token}


@dataclass(frozen=True, kw_only=True)
class RotationResult:
    """What was replaced; `revoked`: the old tokens are not valid any more."""

    environment: str
    callers: tuple[str, ...]
    revoked: bool

    def text(self) -> str:
        """Return the result for people."""
        old = (
            "the old ones are refused within a minute"
            if self.revoked
            else "the old ones are valid until the next rotation, or rotate-tokens --revoke"
        )
        return f"new tokens in {self.environment} for {', '.join(self.callers)}; {old}"

    def data(self) -> dict[str, Any]:
        """Return the result for machines."""
        return {
            "environment": self.environment,
            "callers": list(self.callers),
            "revoked": self.revoked,
        }


async def token(context: ReleaseContext, caller: str) -> TokenResult:
    """Return the token of a person; raises `UsageError` if nobody has this name."""
    known = named(await tokens.text(context.aws, context.outputs.people_secret))
    if caller not in known:
        message = f"nobody in {context.env.name} is named {caller}"
        raise UsageError(message, hint=f"known: {', '.join(sorted(known))}")
    return TokenResult(caller=caller, token=known[caller])


async def rotate_tokens(context: ReleaseContext, *, revoke: bool) -> RotationResult:
    """Replace all tokens; the old ones remain valid as the previous ones, unless revoked."""
    callers: list[str] = []
    for secret in (context.outputs.people_secret, context.outputs.agents_secret):
        text = await tokens.text(context.aws, secret)
        await tokens.rotate(context.aws, secret, renewed(text))
        callers += named(text) or ["agents"]
        if revoke:
            await tokens.revoke(context.aws, secret)
    return RotationResult(
        environment=context.env.name, callers=tuple(sorted(callers)), revoked=revoke
    )


def named(text: str) -> dict[str, str]:
    """Return the tokens by name; empty if the secret is one token."""
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def renewed(text: str) -> str:
    """Return a secret of the same form with new tokens."""
    names = named(text)
    if not names:
        return secrets.token_urlsafe(STRENGTH)
    return json.dumps({name: secrets.token_urlsafe(STRENGTH) for name in names})
