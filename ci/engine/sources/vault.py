"""Secrets of a HashiCorp Vault (KV version 2), with the environment variables of its own program.

VAULT_ADDR, VAULT_TOKEN, VAULT_NAMESPACE; VAULT_APPROLE_ROLE_ID and VAULT_APPROLE_SECRET_ID instead
of a token; VAULT_PATH_PREFIX is the mount path of the secrets engine (default: secret).
"""

import json
import os
import urllib.request
from typing import Any
from urllib.parse import quote, urlsplit

from ci.engine.errors import EngineError
from ci.engine.sources import http


def read(address: str) -> bytes:
    """Return the text at `PATH.FIELD`.

    Raises:
        EngineError: a variable is not set, or the server has no such text for this token.
    """
    path, dot, field = urlsplit(address).path.partition(".")
    if not path or not dot or "." in field:
        raise EngineError(f"secret vault://{address}: the address must be vault://PATH.FIELD")
    mount = os.environ.get("VAULT_PATH_PREFIX") or "secret"
    answer = _request(f"{mount}/data/{path}", token=_token())
    value = ((answer.get("data") or {}).get("data") or {}).get(field)
    if not isinstance(value, str):
        raise EngineError(f"secret vault://{address}: the path has no text field of that name")
    return value.encode()


def _token() -> str:
    role = os.environ.get("VAULT_APPROLE_ROLE_ID")
    if role:
        mount = os.environ.get("VAULT_APPROLE_MOUNT_PATH") or "approle"
        given = {"role_id": role, "secret_id": os.environ.get("VAULT_APPROLE_SECRET_ID", "")}
        return str(_request(f"auth/{mount}/login", body=given)["auth"]["client_token"])
    token = os.environ.get("VAULT_TOKEN")
    if not token:
        raise EngineError("secret vault://: set VAULT_TOKEN or VAULT_APPROLE_ROLE_ID")
    return token


def _request(path: str, *, token: str = "", body: dict[str, str] | None = None) -> dict[str, Any]:
    root = os.environ.get("VAULT_ADDR", "")
    if "://" not in root:
        raise EngineError("secret vault://: set VAULT_ADDR to the server's URL")
    namespace = os.environ.get("VAULT_NAMESPACE", "")
    given = {"Request": "true", "Token": token, "Namespace": namespace}
    headers = {f"X-Vault-{name}": value for name, value in given.items() if value}
    url = f"{root.rstrip('/')}/v1/{quote(path)}"
    data = None if body is None else json.dumps(body).encode()
    with http.open_url(urllib.request.Request(url, data=data, headers=headers)) as got:  # noqa: S310
        found: dict[str, Any] = json.load(got)
    return found
