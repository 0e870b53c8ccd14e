"""The OIDC identity token of a CI run, which AWS exchanges for temporary credentials.

Source: GitHub Docs, "OpenID Connect reference", "Methods for requesting the OIDC token".
"""

import base64
import json
import urllib.error
import urllib.request

import anyio

from ci.errors import AwsError

AUDIENCE = "sts.amazonaws.com"
TIMEOUT = 20.0  # seconds


async def fetch(url: str, token: str) -> str:
    """Request an identity token for AWS from the CI system.

    Args:
        url: the token endpoint; the audience is added to its query.
        token: the bearer token for the request.

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
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310  # nosec B310
            return str(json.load(answer)["value"])
    except (urllib.error.URLError, TimeoutError, ValueError, KeyError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # the error is the response, with its connection
        reason = getattr(error, "reason", None) or type(error).__name__
        message = f"the CI system issued no identity token: {reason}"
        raise AwsError(
            message, service="oidc", hint="the job needs `permissions: id-token: write`"
        ) from None
