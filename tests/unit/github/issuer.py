"""A stand-in for GitHub's issuer of identity tokens, on loopback."""

import base64
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ISSUER = "https://token.actions.githubusercontent.com"
MAY_ASK = "may-ask"


@dataclass
class Issuer:
    """Where a job asks for tokens; every token has this subject."""

    url: str
    subject: str
    audiences: list[str] = field(default_factory=list)  # that were asked for

    def environ(self) -> dict[str, str]:
        """Return the variables of a job with `permissions: id-token: write`."""
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": self.url,
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": MAY_ASK,
        }


def token(subject: str, audience: str) -> str:
    """Return a token with GitHub's claims; nobody here checks its signature."""
    claims = {"iss": ISSUER, "aud": audience, "sub": subject}
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
    encoded = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


@contextmanager
def issuing(subject: str) -> Iterator[Issuer]:
    """Issue tokens to whoever shows the right to ask."""
    made = Issuer(url="", subject=subject)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers["Authorization"] == f"bearer {MAY_ASK}"
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            made.audiences += query["audience"]
            value = token(made.subject, query["audience"][0])
            self.send_response(200 if allowed else 403)
            self.end_headers()
            self.wfile.write(json.dumps({"value": value}).encode() if allowed else b"")

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}/token?run=1"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
