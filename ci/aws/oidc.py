"""The identity token of a CI run, which AWS takes in place of keys.

Source: GitHub Docs, "OpenID Connect reference", "Methods for requesting the OIDC token".
"""

import base64
import json
import urllib.error
import urllib.request

import anyio

from ci.errors import AwsError

AUDIENCE = "sts.amazonaws.com"
PATIENCE = 20.0  # seconds


async def fetch(url: str, token: str) -> str:
    """Ask the CI system for an identity token for AWS.

    Args:
        url: where tokens are given out; the audience is added to its query.
        token: the right to ask, sent as bearer.

    Raises:
        AwsError: the CI system refused or did not answer; neither token is in the message.
    """
    return await anyio.to_thread.run_sync(_fetch, url, token)


def subject(token: str) -> str:
    """Return the subject (`sub`) that a token claims, empty if it cannot be read.

    Nothing is verified, that is up to AWS: the subject is for an error's text. The token itself
    must be in none.
    """
    try:
        payload = token.split(".")[1]
        padded = payload + "=" * (-len(payload) % 4)
        claimed = json.loads(base64.urlsafe_b64decode(padded))["sub"]
    except (ValueError, LookupError, TypeError):
        return ""
    return claimed if isinstance(claimed, str) and claimed.isprintable() else ""


def _fetch(url: str, token: str) -> str:
    separator = "&" if "?" in url else "?"
    request = urllib.request.Request(  # noqa: S310 (the URL is the CI system's own)
        f"{url}{separator}audience={AUDIENCE}", headers={"Authorization": f"bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310  # nosec B310
            return str(json.load(answer)["value"])
    except (urllib.error.URLError, TimeoutError, ValueError, KeyError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the answer, with its connection
        reason = getattr(error, "reason", None) or type(error).__name__
        message = f"the CI system gave out no identity token: {reason}"
        raise AwsError(
            message, service="oidc", hint="does the job have `permissions: id-token: write`?"
        ) from None
