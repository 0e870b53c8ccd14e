"""Files from the web."""

import http.client
import urllib.request
from collections.abc import Mapping
from posixpath import basename
from typing import IO, cast
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

from ci.engine.errors import EngineError
from ci.engine.store import Store

#: Seconds that a server may say nothing.
SILENCE = 60


def fetch(
    store: Store, url: str, headers: Mapping[str, str], checksum: str = ""
) -> tuple[str, int]:
    """Fetch a file into the store; return its SHA-256 and size. Proxies are those of this host.

    Raises:
        EngineError: the server cannot be reached or refuses, or the checksum is another.
    """
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310  # checked below
    if request.type not in ("http", "https"):
        raise EngineError(f"{url}: only http and https are fetched")
    try:
        with urllib.request.urlopen(request, timeout=SILENCE) as answer:  # noqa: S310  # nosec B310
            digest, size = store.add(cast("IO[bytes]", answer))
    except HTTPError as error:
        error.close()
        raise EngineError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise EngineError(f"{url}: {error}") from error
    if checksum and f"sha256:{digest}" != checksum:
        raise EngineError(f"{url}: expected {checksum}, got sha256:{digest}")
    return digest, size


def name_of(url: str) -> str:
    """Return the last part of a URL's path, `index` where it has none."""
    return basename(unquote(urlsplit(url).path)) or "index"
