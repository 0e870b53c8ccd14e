"""The identity token of a CI run, which AWS takes in place of keys.

Source: GitHub Docs, "OpenID Connect reference", "Methods for requesting the OIDC token".
"""

import json
import urllib.error
import urllib.request

import anyio

from ci.errors import AwsError

AUDIENCE = "sts.amazonaws.com"
TIMEOUT = 20.0  # seconds


async def fetch(url: str, token: str) -> str:
    """Ask the CI system for an identity token for AWS.

    Args:
        url: where tokens are given out; the audience is added to its query.
        token: the right to ask, sent as bearer.

    Raises:
        AwsError: the CI system refused or did not answer; neither token is in the message.
    """
    return await anyio.to_thread.run_sync(_fetch, url, token)


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
            error.close()  # it is the answer, with its connection
        reason = getattr(error, "reason", None) or type(error).__name__
        message = f"the CI system gave out no identity token: {reason}"
        raise AwsError(
            message, service="oidc", hint="does the job have `permissions: id-token: write`?"
        ) from None
