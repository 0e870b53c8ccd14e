"""Secrets of a HashiCorp Vault (KV version 2), with the environment variables of its own program.

VAULT_ADDR, VAULT_TOKEN, VAULT_NAMESPACE, VAULT_CACERT; VAULT_APPROLE_ROLE_ID and
VAULT_APPROLE_SECRET_ID instead of a token; VAULT_PATH_PREFIX is the mount path of the secrets
engine (default: secret).
"""

import os
import ssl
from typing import Any
from urllib.parse import urlsplit

import hvac
import requests
from hvac.exceptions import VaultError

from ci.engine.errors import EngineError

#: Seconds that the server may send nothing.
TIMEOUT = 60


def read(address: str) -> bytes:
    """Return the text at `PATH.FIELD`.

    Raises:
        EngineError: a variable is not set, or the server has no such text for this token.
    """
    path, dot, field = urlsplit(address).path.partition(".")
    if not path or not dot or "." in field:
        raise EngineError(f"secret vault://{address}: the address must be vault://PATH.FIELD")
    mount = os.environ.get("VAULT_PATH_PREFIX") or "secret"
    try:
        found = _client().secrets.kv.v2.read_secret_version(
            path, mount_point=mount, raise_on_deleted_version=True
        )
    except (VaultError, requests.RequestException, ValueError) as error:
        kind = type(error).__name__  # such as InvalidPath; servers do not always send a text
        raise EngineError(f"secret vault://{address}: {kind}: {error}") from error
    value = found["data"]["data"].get(field)
    if not isinstance(value, str):
        raise EngineError(f"secret vault://{address}: the path has no text field of that name")
    return value.encode()


def _client() -> Any:
    root = os.environ.get("VAULT_ADDR", "")
    if "://" not in root:
        raise EngineError("secret vault://: set VAULT_ADDR to the server's URL")
    role, token = os.environ.get("VAULT_APPROLE_ROLE_ID"), os.environ.get("VAULT_TOKEN")
    if not role and not token:
        raise EngineError("secret vault://: set VAULT_TOKEN or VAULT_APPROLE_ROLE_ID")
    client = hvac.Client(
        url=root.rstrip("/"),
        token="" if role else token,
        namespace=os.environ.get("VAULT_NAMESPACE") or None,
        timeout=TIMEOUT,
        verify=os.environ.get("VAULT_CACERT") or ssl.get_default_verify_paths().cafile or True,
        session=_Session(),
    )
    if role:
        client.auth.approle.login(
            role_id=role,
            secret_id=os.environ.get("VAULT_APPROLE_SECRET_ID", ""),
            mount_point=os.environ.get("VAULT_APPROLE_MOUNT_PATH") or "approle",
        )
    return client


class _Session(requests.Session):
    """Follows redirects; requests itself takes only `Authorization` from those to other hosts."""

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Remove the token from a request that goes to another host."""
        # The stubs of requests have no types for these two.
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
        old, new = response.request.url, prepared_request.url
        if self.should_strip_auth(old, new):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop("X-Vault-Token", None)
