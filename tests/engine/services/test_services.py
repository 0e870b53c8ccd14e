"""Services: bound by name, waited for, shared; their end is reported."""

import http.server
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import dagger
import docker
import httpx
import pytest

from tests.engine.behaviours import Behaviours, Lab, Shows
from tests.engine.conftest import INSTANCE

pytestmark = pytest.mark.docker
behaviour = Behaviours()
FRESH = os.urandom(4).hex()
GET = (
    "import sys, urllib.request as r\n"
    "for url in sys.argv[1:]: print(r.urlopen(url, timeout=10).read().decode(), end='')"
)


def web(lab: Lab, text: str) -> dagger.Service:
    c = lab.base.with_workdir("/w").with_new_file("index.html", text).with_exposed_port(8000)
    return c.as_service(args=["python3", "-m", "http.server", "8000"])


def get(c: dagger.Container, *urls: str) -> dagger.Container:
    return c.with_exec(["python3", "-c", GET, *urls])


@behaviour("hello")
async def a_service_answers_under_its_alias(lab: Lab) -> Any:
    c = lab.base.with_service_binding("www", web(lab, "hello"))
    return await get(c, "http://www:8000").stdout()


@behaviour("AB")
async def two_services_are_told_apart(lab: Lab) -> Any:
    c = lab.base.with_service_binding("a", web(lab, "A")).with_service_binding("b", web(lab, "B"))
    return await get(c, "http://a:8000", "http://b:8000").stdout()


@behaviour([True, True, True])
async def a_started_service_tells_its_endpoint(lab: Lab) -> Any:
    service = await web(lab, "up").start()
    name, endpoint = await service.hostname(), await service.endpoint(port=8000, scheme="http")
    await service.stop()
    return [bool(name), endpoint.startswith("http://"), endpoint.endswith(":8000")]


@behaviour.cases()
async def test_behaviour(lab: Lab, shows: Shows, answer: Any) -> None:
    """Expect the answers of a Dagger engine v0.21.8 (recorder: tests/engine/behaviours.py)."""
    assert await shows(lab) == answer


# --- beyond the recorded behaviours ------------------------------------------------------------
def running(client: docker.DockerClient, port: str) -> int:
    found = client.containers.list(
        filters={"label": f"acso.instance={INSTANCE}"}, ignore_removed=True
    )
    return sum(port in each.attrs["Config"]["Cmd"] for each in found)


async def test_a_service_bound_twice_runs_once_until_it_is_stopped(
    lab: Lab, client: docker.DockerClient
) -> None:
    c = lab.base.with_exposed_port(8765)
    service = c.as_service(args=["python3", "-m", "http.server", "8765"])
    for number in range(2):
        user = lab.base.with_env_variable("N", f"{number}{FRESH}")
        await get(user.with_service_binding("s", service), "http://s:8765/etc/hostname").sync()
    assert running(client, "8765") == 1
    await service.stop()
    assert running(client, "8765") == 0


async def test_a_service_can_use_another(lab: Lab) -> None:
    relay = (
        "import http.server as h, urllib.request as r\n"
        "class H(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers()\n"
        "        self.wfile.write(b'via ' + r.urlopen('http://back:8000').read())\n"
        "h.HTTPServer(('', 9000), H).serve_forever()"
    )
    front = lab.base.with_service_binding("back", web(lab, "back")).with_exposed_port(9000)
    service = front.as_service(args=["python3", "-c", relay])
    c = lab.base.with_service_binding("front", service)
    assert await get(c, "http://front:9000").stdout() == "via back"


async def test_a_service_that_dies_is_an_error_with_its_last_lines(lab: Lab) -> None:
    broken = lab.base.with_exposed_port(1).as_service(
        args=["sh", "-c", "echo no config >&2; exit 4"]
    )
    c = lab.sh("true", lab.base.with_service_binding("s", broken))
    with pytest.raises(dagger.QueryError, match=r"\(aliased as s\): exit code: 4\nno config"):
        await c.sync()


async def test_the_default_command_and_entrypoint_serve(lab: Lab) -> None:
    c = lab.base.with_exposed_port(8000).with_entrypoint(["python3", "-m"])
    c = c.with_default_args(["http.server", "8000"])
    user = lab.base.with_service_binding("s", c.as_service(use_entrypoint=True))
    assert "Directory listing for /" in await get(user, "http://s:8000/").stdout()
    with pytest.raises(dagger.QueryError, match="no service command has been set"):
        await lab.dag.container().as_service().start()


# --- by way of this host ------------------------------------------------------------------------
@pytest.fixture
def here() -> Iterator[int]:
    """A web server of this host, on loopback alone; its port."""

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"from the host")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_container_reaches_a_service_of_this_host(lab: Lab, here: int) -> None:
    service = lab.dag.host().service([dagger.PortForward(backend=here, frontend=0)])
    c = lab.base.with_service_binding("db", service).with_env_variable("N", FRESH)
    assert await get(c, f"http://db:{here}").stdout() == "from the host"
    await service.stop()
    after = get(c.with_env_variable("N", FRESH + "after"), f"http://db:{here}")
    assert await after.stdout() == "from the host"  # bound again, so started again
    with pytest.raises(dagger.QueryError, match="at least one port"):
        await lab.dag.host().service([]).start()
    udp = dagger.PortForward(backend=here, protocol=dagger.NetworkProtocol.UDP)
    with pytest.raises(dagger.QueryError, match=r"UDP.* is not supported"):
        await lab.dag.host().service([udp]).start()


async def test_this_host_reaches_a_service_through_a_tunnel(lab: Lab) -> None:
    tunnel = await lab.dag.host().tunnel(web(lab, "through")).start()
    endpoint = await tunnel.endpoint(scheme="http")
    assert endpoint.startswith("http://localhost:")
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(endpoint)).text == "through"
        await tunnel.stop()
        with pytest.raises(httpx.ConnectError):
            await client.get(endpoint)


async def test_a_service_is_up_until_its_caller_goes_away(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    forward = [dagger.PortForward(backend=8000, frontend=port)]
    url = f"http://127.0.0.1:{port}"
    async with anyio.create_task_group() as group, httpx.AsyncClient(trust_env=False) as client:
        group.start_soon(lambda: web(lab, "up").up(ports=forward))
        with anyio.fail_after(60):
            while await _status(client, url) != 200:  # noqa: ASYNC110  # another process
                await anyio.sleep(0.05)
        group.cancel_scope.cancel()
    async with httpx.AsyncClient(trust_env=False) as client:
        with anyio.fail_after(60):
            while await _status(client, url) is not None:  # noqa: ASYNC110  # likewise
                await anyio.sleep(0.05)


async def _status(client: httpx.AsyncClient, url: str) -> int | None:
    try:
        return (await client.get(url)).status_code
    except httpx.TransportError:
        return None


async def test_up_ends_with_the_service_and_says_how(lab: Lab) -> None:
    c = lab.base.with_exposed_port(8111, experimental_skip_healthcheck=True)
    with pytest.raises(dagger.QueryError, match=r"sleep 0\.3; exit 3` ended with exit code 3"):
        await c.up(args=["sh", "-c", "sleep 0.3; exit 3"], random=True)
    with pytest.raises(dagger.QueryError, match="exposes no TCP port"):
        await lab.base.up(args=["sleep", "100"])
