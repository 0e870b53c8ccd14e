"""Files over HTTP."""

import re
import ssl
from collections.abc import Mapping
from posixpath import basename
from urllib.parse import unquote, urlsplit

import httpx

from ci.engine.errors import EngineError
from ci.engine.store.cache import Store

#: Seconds that a server may send nothing.
TIMEOUT = 60
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")


def fetch(
    store: Store, url: str, headers: Mapping[str, str], checksum: str = ""
) -> tuple[str, int]:
    """Fetch a file into the store; return its SHA-256 and size. Proxies are those of this host.

    After a redirect to another host, the header with the credential is not sent.

    Raises:
        EngineError: the server cannot be reached or refuses, or the file is not the one expected.
    """
    if checksum and not _CHECKSUM.fullmatch(checksum):
        raise EngineError(f'{url}: invalid checksum "{checksum}"; it is sha256: and 64 digits')
    digest, size = _fetch(store, url, headers)
    if checksum and f"sha256:{digest}" != checksum:
        raise EngineError(f"{url}: expected {checksum}, got sha256:{digest}")
    return digest, size


def _fetch(store: Store, url: str, headers: Mapping[str, str]) -> tuple[str, int]:
    if urlsplit(url).scheme not in ("http", "https"):
        raise EngineError(f"{url}: the URL must begin with http:// or https://")
    trusted = ssl.create_default_context()  # by the certificates of this host
    sent = {"Accept-Encoding": "identity", **headers}
    try:
        with (
            httpx.Client(follow_redirects=True, timeout=TIMEOUT, verify=trusted) as client,
            client.stream("GET", url, headers=sent) as got,
        ):
            if not got.is_success:
                raise EngineError(
                    f"{url}: the server answers {got.status_code} {got.reason_phrase}"
                )
            return store.write(got.iter_raw())
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise EngineError(f"{url}: {str(error) or type(error).__name__}") from error


def name_of(url: str) -> str:
    """Return the last part of a URL's path, `index` where it has none."""
    return basename(unquote(urlsplit(url).path)) or "index"
