"""Files over HTTP."""

import http.client
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from posixpath import basename
from typing import IO
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

from ci.engine.errors import EngineError
from ci.engine.store.cache import Store

#: Seconds that a server may send nothing.
TIMEOUT = 60


@contextmanager
def open_url(request: urllib.request.Request) -> Iterator[IO[bytes]]:
    """Yield the body of a response. Proxies are those of this host.

    Raises:
        EngineError: the server cannot be reached, refuses, or its response is not HTTP.
    """
    url = request.full_url
    if request.type not in ("http", "https"):
        raise EngineError(f"{url}: the URL must begin with http:// or https://")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as got:  # noqa: S310  # nosec B310
            yield got
    except HTTPError as error:
        error.close()
        raise EngineError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise EngineError(f"{url}: {error}") from error


def fetch(
    store: Store, url: str, headers: Mapping[str, str], checksum: str = ""
) -> tuple[str, int]:
    """Fetch a file into the store; return its SHA-256 and size; raises `EngineError`."""
    with open_url(urllib.request.Request(url, headers=dict(headers))) as got:  # noqa: S310
        digest, size = store.add(got)
    if checksum and f"sha256:{digest}" != checksum:
        raise EngineError(f"{url}: expected {checksum}, got sha256:{digest}")
    return digest, size


def name_of(url: str) -> str:
    """Return the last part of a URL's path, `index` where it has none."""
    return basename(unquote(urlsplit(url).path)) or "index"
