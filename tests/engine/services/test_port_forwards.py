"""Ports of several services, and services of this host under ports that are in use."""

import http.server
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dagger
import docker
import httpx
import pytest

from tests.engine.behaviours import Lab
from tests.engine.conftest import INSTANCE, Open
from tests.engine.daemons import podman_version

pytestmark = pytest.mark.docker
FRESH = os.urandom(4).hex()
GET = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=10).read().decode())"


@contextmanager
def served(address: str, text: str) -> Iterator[int]:
    """Serve a text on this host; yield the port."""

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((address, 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def host_service(lab: Lab, backend: int, frontend: int) -> dagger.Service:
    return lab.dag.host().service([dagger.PortForward(backend=backend, frontend=frontend)])


async def fetched(lab: Lab, service: dagger.Service, port: int) -> str:
    c = lab.base.with_env_variable("N", FRESH).with_service_binding("here", service)
    return (await c.with_exec(["python3", "-c", GET, f"http://here:{port}"]).stdout()).strip()


async def test_all_ports_of_a_tunnel_answer_and_the_session_goes_on(lab: Lab) -> None:
    c = lab.base.with_new_file("/w/f", "x").with_exposed_port(8001).with_exposed_port(8002)
    script = "python3 -m http.server -d /w 8001 & exec python3 -m http.server -d /w 8002"
    tunnel = await lab.dag.host().tunnel(c.as_service(args=["sh", "-c", script])).start()
    ports = [await port.port() for port in await tunnel.ports()]
    assert len(set(ports)) == 2
    async with httpx.AsyncClient(trust_env=False) as client:
        texts = [(await client.get(f"http://127.0.0.1:{port}/f")).text for port in ports]
        assert texts == ["x", "x"]
        await tunnel.stop()
        for port in ports:
            with pytest.raises(
                httpx.TransportError
            ):  # a kept connection ends, a new one is refused
                await client.get(f"http://127.0.0.1:{port}/f")
    assert await lab.dag.directory().entries() == []


async def test_a_service_of_this_host_has_several_ports(lab: Lab) -> None:
    with served("127.0.0.1", "one") as one, served("127.0.0.1", "two") as two:
        forwards = [dagger.PortForward(backend=port, frontend=port) for port in (one, two)]
        service = lab.dag.host().service(forwards)
        assert [await port.port() for port in await service.ports()] == [one, two]
        found = [await fetched(lab, service, port) for port in (one, two)]
        assert found == ["one", "two"]
        await service.stop()


async def test_a_server_of_this_host_on_all_addresses_keeps_its_port(lab: Lab) -> None:
    with served("0.0.0.0", "everywhere") as port:  # noqa: S104  # what the test is about
        service = host_service(lab, port, port)
        assert await fetched(lab, service, port) == "everywhere"
        await service.stop()
        other = host_service(lab, port + 1, port)
        with pytest.raises(
            dagger.QueryError, match=f"cannot listen on .*:{port}: (Address|Cannot)"
        ):
            await other.start()


async def test_services_of_this_host_share_a_frontend_port(
    lab: Lab, session: Open, client: docker.DockerClient
) -> None:
    with served("127.0.0.1", "one") as one, served("127.0.0.1", "two") as two:
        async with session(lab.options) as second:
            services = [host_service(on, port, 8099) for on, port in ((lab, one), (lab, two))]
            assert await fetched(lab, services[0], 8099) == "one"
            if podman_version(client) >= 5:  # it has a network's address only while that is used
                with pytest.raises(dagger.QueryError, match="give the service another frontend"):
                    await fetched(lab, services[1], 8099)
                return
            assert await fetched(lab, services[1], 8099) == "two"
            assert await fetched(second, host_service(second, one, 8099), 8099) == "one"
        names = [await service.hostname() for service in services]
        assert len(set(names)) == 2
        for service in services:
            await service.stop()
    mine = {"label": f"acso.instance={INSTANCE}"}
    assert not client.networks.list(filters=mine)
