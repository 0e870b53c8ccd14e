"""Who may use a session, and what its containers may do: nothing more than Docker's default."""

import base64
import contextlib
import os
import socket
from pathlib import Path
from typing import Any

import anyio
import dagger
import docker
import httpx
import pytest

from ci.engine import server
from tests.engine.behaviours import Lab
from tests.engine.conftest import INSTANCE, OWN, Open

pytestmark = pytest.mark.docker
QUERY = {"query": "{ version }"}
FRESH = os.urandom(4).hex()


def url(lab: Lab, path: str = "/query") -> str:
    return f"http://127.0.0.1:{lab.session.port}{path}"


async def status(lab: Lab, method: str, path: str, auth: Any, **body: Any) -> int:
    async with httpx.AsyncClient(trust_env=False) as http:
        return (await http.request(method, url(lab, path), auth=auth, **body)).status_code


async def test_only_the_sessions_token_is_answered(lab: Lab, session: Open) -> None:
    async with session(lab.options) as other:
        token, foreign = lab.session.token, other.session.token
        assert len(token) > 40
        for auth in (None, ("", ""), (token[:-1], ""), ("", token), (foreign, ""), (token, "x")):
            assert await status(lab, "POST", "/query", auth, json=QUERY) == 401
        assert await status(lab, "POST", "/query", (token, ""), json=QUERY) == 200
        assert token not in repr(lab.session)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/query"), ("POST", "/"), ("POST", "/query/x"), ("GET", "/../etc")]
)
async def test_there_is_one_path_and_one_method(lab: Lab, method: str, path: str) -> None:
    assert await status(lab, method, path, (lab.session.token, "")) == 404
    assert await status(lab, method, path, None) == 401


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"query": ', b"\xff", b'{"q": 1}'])
async def test_what_is_no_query_is_told_so(lab: Lab, body: bytes) -> None:
    assert await status(lab, "POST", "/query", (lab.session.token, ""), content=body) == 400


async def test_a_query_has_a_largest_size(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_QUERY", 1_000_000)
    for size, answer in ((900_000, 200), (1_100_000, 413)):
        query = f'{{ directory {{ withNewFile(path: "f", contents: "{"x" * size}") {{ id }} }} }}'
        auth = (lab.session.token, "")
        assert await status(lab, "POST", "/query", auth, json={"query": query}) == answer


async def test_a_query_that_does_not_arrive_is_not_waited_for(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "BODY_TIMEOUT", 0.2)
    token = base64.b64encode(f"{lab.session.token}:".encode()).decode()
    head = f"POST /query HTTP/1.1\r\nhost: x\r\nauthorization: Basic {token}\r\n"
    async with await anyio.connect_tcp("127.0.0.1", lab.session.port) as stream:
        await stream.send(head.encode() + b"content-length: 9\r\n\r\n{")
        with anyio.fail_after(60):  # it hangs otherwise
            assert b"408 Request Timeout" in await stream.receive()


def sockets() -> list[list[str]]:
    files = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    return [line.split() for file in files for line in file.read_text().splitlines()[1:]]


async def test_it_listens_on_loopback_alone(lab: Lab) -> None:
    rows = sockets()
    listening = {row[1] for row in rows if row[3] == "0A"}
    port = f"{lab.session.port:04X}"
    loopback = socket.inet_aton("127.0.0.1")[::-1].hex().upper()
    assert {each for each in listening if each.endswith(f":{port}")} == {f"{loopback}:{port}"}


async def test_no_container_may_more_than_dockers_default(
    lab: Lab, client: docker.DockerClient
) -> None:
    serve = ["python3", "-m", "http.server", "8021"]
    secret = lab.dag.set_secret("token", f"secret-{FRESH}")
    service = lab.base.with_exposed_port(8021).with_mounted_secret("/s", secret)
    c = lab.base.with_service_binding("web", service.as_service(args=serve))
    c = c.with_mounted_cache("/c", lab.dag.cache_volume(f"{INSTANCE}-security"))
    c = c.with_mounted_directory("/d", lab.files("a")).with_mounted_secret("/s", secret)
    c = c.with_mounted_temp("/t").with_mounted_file("/f", lab.files("a").file("a"))
    caps = "grep CapEff /proc/self/status; ls /var/run/docker.sock /run/docker.sock 2>/dev/null"
    shown = await lab.sh(f"{caps} ; : {FRESH}", c, expect=dagger.ReturnType.ANY).stdout()
    # CHOWN, DAC_OVERRIDE, FOWNER ... AUDIT_WRITE: the fourteen of Docker's default profile.
    assert shown.split() == ["CapEff:", "00000000a80425fb"]
    made = await anyio.to_thread.run_sync(_made, client)
    assert len(made) >= 3  # the service, its filler, and what files were looked up in
    volumes = {each.attrs["Mountpoint"] for each in client.volumes.list()}
    for attrs in made:
        _harmless(attrs, volumes)


def _made(client: docker.DockerClient) -> list[dict[str, Any]]:
    """Return what is known of this run's containers; some are being removed meanwhile."""
    filters = {"label": f"acso.instance={INSTANCE}"}
    found = []
    for each in client.api.containers(all=True, filters=filters):
        with contextlib.suppress(docker.errors.APIError):
            found.append(client.api.inspect_container(each["Id"]))
    return found


def _harmless(attrs: dict[str, Any], volumes: set[str]) -> None:
    host = attrs["HostConfig"]
    assert not host["Privileged"]
    assert not host["CapAdd"]
    assert not host["Devices"]
    assert not host["SecurityOpt"]
    modes = [host[name] for name in ("NetworkMode", "PidMode", "UsernsMode", "UTSMode")]
    assert not set(modes) & {"host"}
    assert host["IpcMode"] != "host"
    for bind in host["Binds"] or ():  # where Podman tells all mounts, volumes by their names
        source = bind.partition(":")[0]
        assert "/" not in source or str(Path(source).parent) in {*volumes, *_below(volumes)}
    assert not [name for name in host["PortBindings"] or {} if name]
    for mount in attrs["Mounts"]:
        assert "docker.sock" not in mount["Source"]
        if mount["Type"] == "bind":  # single files lie in the engine's own volumes
            assert str(Path(mount["Source"]).parent) in {*volumes, *_below(volumes)}


def _below(volumes: set[str]) -> set[str]:
    return {f"{each}/files" for each in volumes}


async def test_a_command_that_is_a_containers_own_leaves_its_secret_in_no_image(
    lab: Lab, client: docker.DockerClient
) -> None:
    """Where an image has no `sleep`, the container itself has the environment."""
    loader = lab.base.file("/lib64/ld-linux-x86-64.so.2")
    root = lab.files(f"only/{FRESH}").with_file("bin/ld", loader)
    value = f"needle-{os.urandom(6).hex()}"
    c = lab.base.with_rootfs(root).with_secret_variable("T", lab.dag.set_secret("t", value))
    c = await c.with_exec(["/bin/ld", "--version"]).sync()
    assert await c.rootfs().glob(f"only/{FRESH}") == [f"only/{FRESH}"]
    found = [image.attrs for image in client.images.list(filters=OWN)]
    assert len(found) > 1
    assert not [each for each in found if value in str(each)]
