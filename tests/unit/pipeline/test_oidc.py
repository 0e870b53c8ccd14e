"""Identity tokens of a CI run, asked for over HTTP from a server that behaves as GitHub's."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ci.errors import AwsError
from ci.pipeline.oidc import fetch, subject


class Issuer(BaseHTTPRequestHandler):
    """Gives out a token to whoever shows the right to ask, for the audience asked for."""

    def do_GET(self) -> None:
        allowed = self.headers["Authorization"] == "bearer may-ask"
        body = json.dumps({"value": f"token for {self.path}"}) if allowed else "no"
        self.send_response(200 if allowed else 403)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def issuer() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Issuer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/token?run=1"
        server.shutdown()


async def test_the_token_is_for_aws_and_keeps_the_url_s_own_query(issuer: str) -> None:
    assert await fetch(issuer, "may-ask") == "token for /token?run=1&audience=sts.amazonaws.com"


async def test_a_refusal_names_the_permission_and_no_token(issuer: str) -> None:
    with pytest.raises(AwsError, match="issued no identity token") as error:
        await fetch(issuer, "may-not-ask")
    assert "id-token: write" in error.value.hint
    assert "may-not-ask" not in str(error.value)


async def test_an_issuer_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AwsError, match="issued no identity token"):
        await fetch("http://127.0.0.1:1/token", "may-ask")


def token(payload: object) -> str:
    """Return a made-up token: three parts, of which only the claims mean something."""
    claims = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return f"head.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.signature"


def test_the_subject_is_read_from_a_token_s_claims() -> None:
    for name in ("main", "feature/ä", "x", "xx", "xxx"):  # each length of padding
        found = f"repo:o@1/acso@2:ref:refs/heads/{name}"
        assert subject(token({"aud": "sts.amazonaws.com", "sub": found})) == found


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "opaque",
        "a.b",
        "a.!!!.c",
        "a.ü.c",
        token(b"no json"),
        token(b"\xff\xfe"),
        token([]),
        token("sub"),
        token({}),
        token({"sub": 7}),
        token({"sub": None}),
        token({"sub": "line\nfeed"}),
        token({"sub": "\x1b[2J"}),
    ],
)
def test_a_malformed_token_has_no_subject(malformed: str) -> None:
    assert subject(malformed) == ""
