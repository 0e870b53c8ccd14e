"""Identity tokens of a CI run, asked for over HTTP from a server that behaves as GitHub's."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ci.aws.oidc import fetch
from ci.errors import AwsError


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
