"""The prober's program, on rows in memory and a server of its own."""

import ast
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ci.aws import elb, prober
from ci.aws.prober import (
    ALIVE,
    FROM,
    MAX_BYTES,
    READY,
    SILENCE_SECONDS,
    TO,
    Prober,
    Request,
    Response,
    fetch,
    packed,
    packed_response,
    unpacked,
    unpacked_response,
)

TABLE, PARTITION = "acso-staging-agents", "/probe#1"


class Handler(http.server.BaseHTTPRequestHandler):
    """Tells what it was asked; its path says how."""

    def do_GET(self) -> None:
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            return
        size = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(size).decode()
        text = f'{{"asked": "{self.command} {self.path} {self.headers.get("X-Who")} {body}"}}'
        content = text.encode() if self.path != "/large" else b"x" * 2 * MAX_BYTES
        self.send_response(418 if self.path == "/teapot" else 200)
        self.send_header("X-Kind", "test")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_DELETE = do_GET  # noqa: N815 (the server's names)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Rows:
    """DynamoDB's client for one partition."""

    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)

    def query(self, **request: Any) -> dict[str, Any]:
        assert (request["TableName"], request["ConsistentRead"]) == (TABLE, True)
        values = request["ExpressionAttributeValues"]
        assert values[":pk"] == {"S": PARTITION}
        found = [v for k, v in self.items.items() if k.startswith(values[":to"]["S"])]
        return {"Items": found}

    def put_item(self, TableName: str, Item: dict[str, Any]) -> None:  # noqa: N803
        assert (TableName, Item["pk"]) == (TABLE, {"S": PARTITION})
        assert int(Item["expires"]["N"]) > 0
        self.items[Item["sk"]["S"]] = Item

    def delete_item(self, Key: dict[str, Any], **_: Any) -> dict[str, Any]:  # noqa: N803
        self.taken.append(Key["sk"]["S"])
        item = self.items.pop(Key["sk"]["S"], None)
        return {"Attributes": item} if item else {}

    def write(self, name: str, value: str) -> None:
        self.items[name] = {"sk": {"S": name}, "value": {"S": value}}

    def read(self, name: str) -> Response:
        return unpacked_response(self.items[f"{FROM}{name}"]["value"]["S"])


def run(rows: Rows, base: str, acts: dict[int, Any], *, life: float = 1e9) -> tuple[str, float]:
    """Run a prober in a time of its own; return why and when it ended.

    `acts` are called after so many pauses.
    """
    times = [0.0, 0.0]

    def sleep(seconds: float) -> None:
        times[0] += seconds
        times[1] += 1
        acts.get(int(times[1]), lambda: None)()

    made = Prober(
        dynamodb=rows,
        table=TABLE,
        partition=PARTITION,
        base=base,
        life=life,
        clock=lambda: times[0],
        sleep=sleep,
    )
    return made.run(), times[0]


def test_rows_are_taken_sent_and_answered(base: str) -> None:
    rows = Rows()
    post = Request(url="/x?y=z", method="POST", headers={"X-Who": "me"}, body=b"body")

    def ask() -> None:
        rows.write(f"{TO}1", packed(Request(url="/health")))
        rows.write(f"{TO}2", packed(post))
        rows.write(f"{TO}3", packed(Request(url="/teapot", method="DELETE")))

    why, _ = run(rows, base, {1: ask})
    assert why == "its client is silent"
    assert READY in rows.items
    assert b"GET /health None" in rows.read("1").content
    assert b"POST /x?y=z me body" in rows.read("2").content
    assert rows.read("3").status == 418
    assert rows.read("1").headers["x-kind"] == "test"
    assert not [name for name in rows.items if name.startswith(TO)]


def test_it_asks_nothing_but_its_load_balancer(base: str) -> None:
    rows = Rows()
    elsewhere = [f"{base}/x", "http://169.254.170.2/v2/credentials", "x", "file:///etc/passwd"]

    def ask() -> None:
        for number, url in enumerate(elsewhere):
            rows.write(f"{TO}{number}", packed(Request(url=url, follow=True)))
        rows.write(f"{TO}away", packed(Request(url="/away", follow=True)))

    run(rows, base, {1: ask})
    for number in range(len(elsewhere)):
        assert rows.read(str(number)).error == "the prober takes paths only"
    assert rows.read("away").status == 302  # a redirect could lead anywhere


def test_it_ends_once_its_client_is_silent_and_not_before(base: str) -> None:
    rows = Rows()
    acts = {n: (lambda n=n: rows.write(ALIVE, str(n))) for n in range(1, 200)}
    why, at = run(rows, base, acts)
    assert why == "its client is silent"
    # Four looks a second at first, then one a second: the last sign of life is at 109 s.
    assert 109 + SILENCE_SECONDS <= at <= 111 + SILENCE_SECONDS


def test_it_ends_when_its_time_is_over(base: str) -> None:
    rows = Rows()
    acts = {n: (lambda n=n: rows.write(ALIVE, str(n))) for n in range(1, 2000)}
    why, at = run(rows, base, acts, life=300)
    assert (why, round(at, -1)) == ("its time is over", 300)


def test_a_request_that_its_client_withdrew_is_not_sent(base: str) -> None:
    rows = Rows()
    answers = rows.query

    def stale(**request: Any) -> dict[str, Any]:
        found = answers(**request)
        rows.items.pop(f"{TO}1", None)
        return found

    rows.query = stale  # type: ignore[method-assign]
    run(rows, base, {1: lambda: rows.write(f"{TO}1", packed(Request(url="/x")))})
    assert f"{FROM}1" not in rows.items
    assert rows.taken == [f"{TO}1"]


def test_an_answer_that_cannot_be_written_is_in_the_log_without_its_content(
    base: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Rows()
    put = rows.put_item

    def broken(TableName: str, Item: dict[str, Any]) -> None:  # noqa: N803
        if Item["sk"]["S"] == f"{FROM}1":
            raise RuntimeError("secret-token")
        put(TableName, Item)

    rows.put_item = broken  # type: ignore[method-assign]
    secret = Request(url="/x", headers={"Authorization": "secret-token"})
    run(rows, base, {1: lambda: rows.write(f"{TO}1", packed(secret))})
    assert capsys.readouterr().out == "a request failed: RuntimeError\n"


def test_requests_and_responses_survive_a_row() -> None:
    request = Request(url="/x", method="PUT", headers={"A": "b"}, body=b"\x00\xff", seconds=2)
    assert unpacked(packed(request)) == request
    assert unpacked(packed(Request(url="/"))).body is None
    response = Response(status=200, content=b"\x00\xff", headers={"a": "b"}, seconds=0.5)
    assert unpacked_response(packed_response(response)) == response


def test_secrets_of_a_request_are_not_shown() -> None:
    request = Request(url="/x", headers={"Authorization": "Bearer top"}, body=b"top")
    assert "top" not in repr(request)


def test_what_comes_back_is_bounded_and_errors_are_told(base: str) -> None:
    assert len(fetch(Request(url=f"{base}/large")).content) == MAX_BYTES
    assert fetch(Request(url="http://127.0.0.1:9/")).error.startswith("no answer: ")
    assert fetch(Request(url="nonsense")).error.startswith("no answer: ")
    followed = fetch(Request(url=f"{base}/away", follow=True))
    assert b"/elsewhere" in followed.content
    assert followed.seconds > 0


async def test_an_answer_has_headers_time_and_json(base: str) -> None:
    answer = await elb.send(Request(url=f"{base}/x"))
    assert (answer.status, answer.headers["x-kind"]) == (200, "test")
    assert answer.body["asked"].startswith("GET /x")
    assert answer.seconds > 0
    lost = elb.not_examined("no way")
    assert (lost.status, lost.examined, str(lost)) == (0, False, "not examined: no way")


def test_the_program_runs_by_itself_and_imports_what_the_images_have() -> None:
    text = Path(prober.__file__).read_text()
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
        + [item.name for item in node.names if isinstance(node, ast.Import)]
    }
    assert imported - sys.stdlib_module_names == {"boto3", "botocore"}
    assert len(text) < 60_000  # a task definition has 64 KB
    done = subprocess.run(
        [sys.executable, "-c", text],
        env={"AWS_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "KeyError: 'ACSO_PROBE_TABLE'" in done.stderr
