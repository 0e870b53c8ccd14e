"""The prober: sends HTTP requests from inside a network, as rows of a table ask for them.

A task of an agent's image runs this file's text with `python -c`. It imports nothing but the
standard library and boto3, which the images have. It ends by itself when its client is silent.
"""

import base64
import dataclasses
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

MAX_BYTES = 64 * 1024  # of a response
WORKERS = 16  # requests at a time
POLL_SECONDS, IDLE_POLL_SECONDS = 0.25, 1.0  # between two looks for requests
ACTIVE_SECONDS = 30.0  # after the last request, with the shorter pauses
SILENCE_SECONDS = 60.0  # without a sign of life of the client, after which it ends
KEPT_SECONDS = 3600  # after which DynamoDB removes a row that nobody read
#: Names of rows (`sk`): to the prober, and from it.
TO, FROM = "to#", "from#"
ALIVE, READY = f"{TO}alive", f"{FROM}ready"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request; headers and body may contain secrets, so they are not shown."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    body: bytes | None = dataclasses.field(default=None, repr=False)
    seconds: float = 5.0
    follow: bool = False  # redirects; a prober follows none, as they may lead anywhere
    most: int = MAX_BYTES  # of the response; the rest is not read


@dataclasses.dataclass(frozen=True, kw_only=True)
class Response:
    """What came back: status 0 and an error if nothing did. `seconds` is the time until then."""

    status: int
    content: bytes = b""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0


def fetch(request: Request) -> Response:
    """Send a request and return the response; nothing is raised."""
    began = time.monotonic()
    return dataclasses.replace(_fetch(request), seconds=time.monotonic() - began)


def _fetch(request: Request) -> Response:
    try:
        sent = urllib.request.Request(  # noqa: S310 (the caller chooses the URL)
            request.url, data=request.body, headers=dict(request.headers), method=request.method
        )
        with _opener(request).open(sent, timeout=request.seconds) as answer:  # nosec B310
            return _response(answer, request.most)
    except urllib.error.HTTPError as error:
        with error:
            return _response(error, request.most)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return Response(status=0, error=f"no answer: {reason or type(error).__name__}")


def _response(answer: Any, most: int) -> Response:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Response(status=answer.status, content=answer.read(most), headers=headers)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect."""

    def redirect_request(self, *_: object) -> None:
        """Return None: the redirect itself is then the response."""


def _opener(request: Request) -> urllib.request.OpenerDirector:
    """Return an opener for a request, without proxies if its URL is on this machine."""
    handlers: list[Any] = [] if request.follow else [_NoRedirect]
    if urllib.parse.urlsplit(request.url).hostname in LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def packed(request: Request) -> str:
    """Return a request as text for a row."""
    fields = {**vars(request), "headers": dict(request.headers)}
    return json.dumps(fields | {"body": _text(request.body)})


def unpacked(text: str) -> Request:
    """Return the request of a row."""
    fields = json.loads(text)
    body = fields.pop("body")
    return Request(**fields, body=None if body is None else base64.b64decode(body))


def packed_response(response: Response) -> str:
    """Return a response as text for a row."""
    fields = {**vars(response), "headers": dict(response.headers)}
    return json.dumps(fields | {"content": _text(response.content)})


def unpacked_response(text: str) -> Response:
    """Return the response of a row."""
    fields = json.loads(text)
    return Response(**{**fields, "content": base64.b64decode(fields["content"])})


def _text(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()


@dataclasses.dataclass(kw_only=True)
class Prober:
    """Takes requests from rows and writes the responses, until its client is silent."""

    dynamodb: Any  # boto3's client
    table: str
    partition: str
    base: str  # of every URL: it sends requests to nothing else
    life: float  # seconds until it ends in any case
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _beat: str = ""

    def run(self) -> str:
        """Serve until the client is silent, or the time is over; return why it ended."""
        began = heard = active = self.clock()
        self._put(READY, "")
        with ThreadPoolExecutor(WORKERS) as pool:
            while True:
                rows = self._rows()
                now = self.clock()
                if self._is_new(rows.pop(ALIVE, "")) or rows:
                    heard = now
                for name in rows:
                    active = now
                    pool.submit(self._serve, name).add_done_callback(_report)
                if now - heard > SILENCE_SECONDS:
                    return "its client is silent"
                if now - began > self.life:
                    return "its time is over"
                busy = now - active < ACTIVE_SECONDS
                self.sleep(POLL_SECONDS if busy else IDLE_POLL_SECONDS)

    def _is_new(self, beat: str) -> bool:
        """Return whether the client has given a sign of life since the last look."""
        before, self._beat = self._beat, beat
        return beat != before

    def _rows(self) -> dict[str, str]:
        """Return the values of the rows for the prober, by name; a full page at most."""
        answer = self.dynamodb.query(
            TableName=self.table,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :to)",
            ExpressionAttributeValues={":pk": {"S": self.partition}, ":to": {"S": TO}},
            ConsistentRead=True,
        )
        return {item["sk"]["S"]: item["value"]["S"] for item in answer["Items"]}

    def _serve(self, name: str) -> None:
        """Take a request, so that nobody reads it again, and write the response."""
        taken = self.dynamodb.delete_item(
            TableName=self.table, Key=self._key(name), ReturnValues="ALL_OLD"
        ).get("Attributes")
        if taken is None:  # the client gave it up, or it was seen twice
            return
        response = self._answer(unpacked(taken["value"]["S"]))
        self._put(FROM + name.removeprefix(TO), packed_response(response))

    def _answer(self, request: Request) -> Response:
        if not request.url.startswith("/"):
            return Response(status=0, error="the prober takes paths only")
        return fetch(dataclasses.replace(request, url=self.base + request.url, follow=False))

    def _put(self, name: str, value: str) -> None:
        expires = {"N": str(int(time.time()) + KEPT_SECONDS)}
        item = {**self._key(name), "value": {"S": value}, "expires": expires}
        self.dynamodb.put_item(TableName=self.table, Item=item)

    def _key(self, name: str) -> dict[str, Any]:
        return {"pk": {"S": self.partition}, "sk": {"S": name}}


def _report(done: Future[None]) -> None:
    """Write what went wrong to the log; the client gets no response, and notices that itself."""
    if error := done.exception():
        print(f"a request failed: {type(error).__name__}", flush=True)


def main() -> None:
    """Serve as the environment variables say; the last line of the log says why it ended."""
    import boto3
    from botocore.config import Config

    given = os.environ
    config = Config(max_pool_connections=WORKERS + 1)
    prober = Prober(
        dynamodb=boto3.client("dynamodb", region_name=given["AWS_REGION"], config=config),
        table=given["ACSO_PROBE_TABLE"],
        partition=given["ACSO_PROBE_PARTITION"],
        base=given["ACSO_PROBE_URL"].rstrip("/"),
        life=float(given["ACSO_PROBE_SECONDS"]),
    )
    print(f"the prober ends: {prober.run()}", flush=True)


if __name__ == "__main__":
    main()
