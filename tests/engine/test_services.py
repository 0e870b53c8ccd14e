"""Services: bound by name, waited for, shared, mourned."""

import os
from typing import Any

import dagger
import docker
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
    assert await shows(lab) == answer


# --- beyond the recording -------------------------------------------------------------------
def running(client: docker.DockerClient, port: str) -> int:
    found = client.containers.list(filters={"label": f"acso.instance={INSTANCE}"})
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
    with pytest.raises(dagger.QueryError, match=r"ended with exit code 4\nno config"):
        await c.sync()


async def test_the_default_command_and_entrypoint_serve(lab: Lab) -> None:
    c = lab.base.with_exposed_port(8000).with_entrypoint(["python3", "-m"])
    c = c.with_default_args(["http.server", "8000"])
    user = lab.base.with_service_binding("s", c.as_service(use_entrypoint=True))
    assert "Directory listing for /" in await get(user, "http://s:8000/").stdout()
    with pytest.raises(dagger.QueryError, match="no command has been set"):
        await lab.dag.container().as_service().start()
