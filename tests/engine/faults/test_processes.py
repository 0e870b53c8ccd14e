"""The client of a session, or the engine itself, is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import anyio
import docker
import httpx
import pytest

from ci import engine
from tests.engine.behaviours import IMAGE, Lab
from tests.engine.conftest import INSTANCE, Open
from tests.engine.daemons import children
from tests.engine.faults.looking import MINE, seen, until

# docker-py forgets a socket that could not be connected: no fault of what is tested here.
pytestmark = [
    pytest.mark.docker,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
FRESH = os.urandom(4).hex()


async def test_containers_of_a_cancelled_request_are_removed(
    lab: Lab, client: docker.DockerClient
) -> None:
    step = f'withExec(args: ["sh", "-c", "sleep 2.5; echo {FRESH}"])'
    query = f'{{ container {{ from(address: "{IMAGE}") {{ {step} {{ stdout }} }} }} }}'
    url, auth = f"http://127.0.0.1:{lab.session.port}/query", (lab.session.token, "")
    async with httpx.AsyncClient(auth=auth, trust_env=False) as http:
        async with anyio.create_task_group() as group:
            group.start_soon(http.post, url)  # a client that stays
            group.start_soon(lambda: http.post(url, json={"query": query}, timeout=30))
            container = await seen(client, "sleep 2.5")
            group.cancel_scope.cancel()

        async def gone() -> bool:
            found = await anyio.to_thread.run_sync(
                lambda: client.containers.list(all=True, sparse=True, filters={"id": container.id})
            )
            return not found

        await until(gone, seconds=5)
        assert not lab.ran(f"sleep 2.5; echo {FRESH}")
        answer = await http.post(url, json={"query": query}, timeout=30)
        assert FRESH in answer.text
    assert lab.ran(f"sleep 2.5; echo {FRESH}") == 1


PROGRAM = """
import sys, anyio
from pathlib import Path
from docker.models.containers import Container

from ci import engine
from ci.engine.program import run

options = engine.Options(
    cache_dir=Path(sys.argv[1]),
    images={sys.argv[2]: sys.argv[3]},
    labels={"acso.instance": sys.argv[4]},
)
sys.exit(anyio.run(run, options, [sys.executable, "-c", sys.argv[5]]))
"""
CLIENT = """
import base64, json, os, sys, urllib.request as r

url = f"http://127.0.0.1:{os.environ['DAGGER_SESSION_PORT']}/query"
token = base64.b64encode(os.environ["DAGGER_SESSION_TOKEN"].encode() + b":").decode()

def ask(query):
    body = json.dumps({"query": query}).encode()
    return r.urlopen(r.Request(url, body, {"authorization": f"Basic {token}"})).read()

source = json.loads(ask("{ directory { id } }"))["data"]["directory"]["id"]
mount = f'withMountedDirectory(path: "/m", source: "{source}")'
step = f'{mount} {{ withExec(args: ["sleep", "99.5"]) {{ sync }} }}'
ask(f'{{ container {{ from(address: "IMAGE") {{ {step} }} }} }}')
""".replace("IMAGE", IMAGE)


@pytest.fixture
def program(options: engine.Options, image: str) -> Iterator["subprocess.Popen[bytes]"]:
    arguments = [str(options.cache_dir), IMAGE, image, INSTANCE, CLIENT]
    command = [sys.executable, "-c", PROGRAM, *arguments]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def left(client: docker.DockerClient, process: int) -> int:
    """Return how many containers and volumes of a process's session there are."""
    labels = [each["Labels"] for each in client.api.containers(all=True, filters=MINE)]
    labels += [each.attrs["Labels"] for each in client.volumes.list(filters=MINE)]
    return sum(f"/{process}/" in each["acso.engine.session"] for each in labels)


async def test_nothing_is_left_of_the_session_of_a_killed_client(
    program: "subprocess.Popen[bytes]", client: docker.DockerClient
) -> None:
    await seen(client, "sleep 99.5")
    os.kill(children(program)[0], signal.SIGKILL)
    with anyio.fail_after(60):
        await anyio.to_thread.run_sync(program.wait)
    assert program.returncode == 128 + signal.SIGKILL
    assert left(client, program.pid) == 0


async def test_the_next_session_removes_what_a_killed_engine_left(
    program: "subprocess.Popen[bytes]",
    client: docker.DockerClient,
    options: engine.Options,
    session: Open,
) -> None:
    await seen(client, "sleep 99.5")
    program.kill()
    program.wait()
    assert left(client, program.pid) >= 3  # the step's container, its filler, their volumes

    async def removed() -> bool:
        return await anyio.to_thread.run_sync(left, client, program.pid) == 0

    async with session(options) as lab:
        await until(removed, seconds=10)
        assert await lab.sh("echo alive").stdout() == "alive\n"
