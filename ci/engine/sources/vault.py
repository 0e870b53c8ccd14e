"""Secrets of a HashiCorp Vault (KV version 2), with the settings that its own program reads.

VAULT_ADDR, VAULT_TOKEN, VAULT_NAMESPACE; VAULT_APPROLE_ROLE_ID and VAULT_APPROLE_SECRET_ID in
place of a token; VAULT_PATH_PREFIX is where the store is mounted (default: secret).
"""

import json
import os
import urllib.request
from typing import Any
from urllib.parse import quote, urlsplit

from ci.engine.errors import EngineError
from ci.engine.sources import http


def read(address: str) -> bytes:
    """Return the text behind `PATH.FIELD`.

    Raises:
        EngineError: a setting is missing, or the server has no such text for this token.
    """
    path, dot, field = urlsplit(address).path.partition(".")
    if not path or not dot or "." in field:
        raise EngineError(f"secret vault://{address}: the address is no PATH.FIELD")
    mount = os.environ.get("VAULT_PATH_PREFIX") or "secret"
    answer = _ask(f"{mount}/data/{path}", token=_token())
    value = ((answer.get("data") or {}).get("data") or {}).get(field)
    if not isinstance(value, str):
        raise EngineError(f"secret vault://{address}: there is no text of that name")
    return value.encode()


def _token() -> str:
    role = os.environ.get("VAULT_APPROLE_ROLE_ID")
    if role:
        mount = os.environ.get("VAULT_APPROLE_MOUNT_PATH") or "approle"
        given = {"role_id": role, "secret_id": os.environ.get("VAULT_APPROLE_SECRET_ID", "")}
        return str(_ask(f"auth/{mount}/login", body=given)["auth"]["client_token"])
    token = os.environ.get("VAULT_TOKEN")
    if not token:
        raise EngineError("secret vault://: set VAULT_TOKEN or VAULT_APPROLE_ROLE_ID")
    return token


def _ask(path: str, *, token: str = "", body: dict[str, str] | None = None) -> dict[str, Any]:
    root = os.environ.get("VAULT_ADDR", "")
    if "://" not in root:
        raise EngineError("secret vault://: set VAULT_ADDR to the server's URL")
    namespace = os.environ.get("VAULT_NAMESPACE", "")
    given = {"Request": "true", "Token": token, "Namespace": namespace}
    headers = {f"X-Vault-{name}": value for name, value in given.items() if value}
    url = f"{root.rstrip('/')}/v1/{quote(path)}"
    data = None if body is None else json.dumps(body).encode()
    with http.answer(urllib.request.Request(url, data=data, headers=headers)) as got:  # noqa: S310
        found: dict[str, Any] = json.load(got)
    return found
