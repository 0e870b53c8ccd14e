"""What goes wrong around the engine: told to who asks, kept out of the cache, cleaned away."""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import dagger
import docker
import httpx
import pytest
from docker.models.containers import Container

from ci import engine
from ci.engine.docker import docker_api, transfers
from tests.engine.behaviours import IMAGE, Lab
from tests.engine.conftest import INSTANCE, Open
from tests.engine.daemons import OwnDaemon, children, enlarge, over_tcp, silent_server, small, tmpfs

# docker-py forgets a socket that could not be connected: no fault of what is tested here.
pytestmark = [
    pytest.mark.docker,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a container engine")
MINE: dict[str, Any] = {"label": f"acso.instance={INSTANCE}"}
FRESH = os.urandom(4).hex()


@pytest.fixture(scope="module")
def archive(client: docker.DockerClient, image: str) -> bytes:
    return small(client, image)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Let what docker-py forgot go within the test that made it."""
    yield
    gc.collect()


@pytest.fixture
async def own(archive: bytes, tmp_path: Path) -> AsyncIterator[OwnDaemon]:
    docker_api = OwnDaemon(home=tmp_path, image=archive)
    try:
        yield docker_api
    finally:
        docker_api.end()


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 60) -> Any:
    """Wait for something to be true and return it."""
    with anyio.fail_after(seconds):
        while not (found := await condition()):  # noqa: ASYNC110 (others' state sends no event)
            await anyio.sleep(0.05)
    return found


def running(client: docker.DockerClient, word: str) -> list[Container]:
    """Return the containers of these tests in which a process has a word in its command."""
    api: Any = client.api
    podman = any(part["Name"] == "Podman Engine" for part in api.version()["Components"])
    # Podman asks a `ps` in the container but for columns, and goes on telling.
    params = {"ps_args": "pid,args", "stream": "false"} if podman else {}

    def commands(container: Container) -> list[str]:
        url = api._url("/containers/{0}/top", container.id)
        found = api._result(api._get(url, params=params), True)["Processes"]
        return [process[-1] for process in found or []]  # none of a container that is ending

    found = client.containers.list(filters=MINE, ignore_removed=True)
    return [each for each in found if any(word in command for command in commands(each))]


async def seen(client: docker.DockerClient, word: str) -> Any:
    """Return the container in which a command runs, once it does."""

    async def look() -> Any:
        try:
            return await anyio.to_thread.run_sync(running, client, word)
        except docker.errors.APIError:  # a container ended between the list and the look
            return []

    return (await until(look))[0]


# --- the container engine stops -------------------------------------------------------------
@as_root
@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.matrix)],
    ids=["stopped", "killed"],
)
async def test_a_container_engine_that_ends_in_the_middle_is_told_and_the_session_goes_on(
    own: OwnDaemon, options: engine.Options, session: Open, number: signal.Signals
) -> None:
    await own.start()
    async with session(own.options(options)) as lab:
        before = await lab.sh("echo kept > /f").sync()
        async with anyio.create_task_group() as group:
            group.start_soon(_stop_once_it_runs, own, "sleep 3", number)
            with pytest.raises(dagger.QueryError, match=r"engine (stops|does not answer)"):
                await lab.sh("sleep 3; cat /f", before).stdout()
        with pytest.raises(dagger.QueryError, match="does not answer"):
            await lab.sh("echo other", before).sync()
        await own.start()
        assert await lab.sh("sleep 3; cat /f", before).stdout() == "kept\n"
        assert (lab.ran("echo kept"), lab.ran("sleep 3")) == (1, 1)
    assert own.containers() == []


async def _stop_once_it_runs(own: OwnDaemon, word: str, number: signal.Signals) -> None:
    with own.client() as client:
        await seen(client, word)
    await own.stop(number)


@as_root
async def test_a_session_that_ends_without_its_container_engine_ends_all_the_same(
    own: OwnDaemon, options: engine.Options, session: Open
) -> None:
    await own.start()
    async with session(own.options(options)) as lab:
        await lab.sh("echo kept > /f").sync()
        assert own.containers()
        await own.stop()
    assert any(
        "leftovers of this session stay until the next session" in line for line in lab.lines
    )
    await own.start()
    other = docker_api.Daemon(own.url, {})
    await docker_api.remove_dead_sessions(other, {"acso.instance": INSTANCE})
    other.client.close()
    assert own.containers()  # of a process that lives: this one


# --- a container goes ------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["kill", "remove"])
async def test_a_container_that_is_killed_from_outside_is_told_and_the_step_runs_again(
    lab: Lab, client: docker.DockerClient, how: str
) -> None:
    before = await lab.sh(f"echo before-{how}{FRESH} > /f").sync()
    step = lab.sh(f"sleep 1.{len(how)}; cat /f", before)

    async def strike() -> None:
        container = await seen(client, f"sleep 1.{len(how)}")
        await anyio.to_thread.run_sync(
            container.kill if how == "kill" else lambda: container.remove(force=True)
        )

    async with anyio.create_task_group() as group:
        group.start_soon(strike)
        with pytest.raises(dagger.QueryError, match="killed or removed from outside"):
            await step.sync()
    assert await step.stdout() == f"before-{how}{FRESH}\n"
    assert (lab.ran(f"before-{how}"), lab.ran(f"sleep 1.{len(how)}")) == (1, 1)


async def test_containers_that_are_removed_between_steps_are_not_missed(
    lab: Lab, client: docker.DockerClient
) -> None:
    before = await lab.sh(f"echo {FRESH}-idle > /f").sync()
    assert not await before.exists("/not/there")
    for each in client.containers.list(all=True, filters=MINE):
        each.remove(force=True)
    assert await before.exists("/etc/hostname")
    assert await lab.sh("cat /f", before).stdout() == f"{FRESH}-idle\n"
    assert await before.file("/f").contents() == f"{FRESH}-idle\n"


async def test_a_service_that_died_starts_again_for_who_comes_next(
    lab: Lab, client: docker.DockerClient
) -> None:
    serve = ["python3", "-m", "http.server", "8011"]
    service = lab.base.with_exposed_port(8011).as_service(args=serve)
    user = lab.base.with_service_binding("s", service)
    get = "import urllib.request as r; print(r.urlopen('http://s:8011/etc/hostname').status)"
    for number in ("1", "2"):
        c = user.with_env_variable("N", number + FRESH).with_exec(["python3", "-c", get])
        assert await c.stdout() == "200\n"
        running = await seen(client, "8011")
        running.kill()

        async def removed(name: str = running.id) -> bool:
            return all(each.id != name for each in client.containers.list(all=True))

        await until(removed)  # the session has seen its end


async def test_what_a_dead_service_said_holds_no_secret(lab: Lab) -> None:
    hidden = lab.dag.set_secret("password", "very-secret-word")
    c = lab.base.with_exposed_port(1).with_secret_variable("P", hidden)
    broken = c.as_service(args=["sh", "-c", 'echo "login with $P refused" >&2; exit 4'])
    with pytest.raises(dagger.QueryError, match=r"login with \*\*\* refused"):
        await lab.sh("true", lab.base.with_service_binding("s", broken)).sync()


# --- the disk fills ---------------------------------------------------------------------------
@as_root
async def test_a_full_cache_is_told_by_its_path_and_holds_nothing_wrong(
    options: engine.Options, session: Open, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    async with tmpfs(cache, 6), session(replace(options, cache_dir=cache)) as lab:
        fills = lab.sh("head -c 9000000 /dev/zero | tr '\\0' x")
        with pytest.raises(dagger.QueryError, match=f"cache {cache} cannot be used: No space left"):
            await fills.sync()
        (tmp_path / "big").write_bytes(os.urandom(9_000_000))
        with pytest.raises(dagger.QueryError, match="No space left"):
            await lab.dag.host().directory(str(tmp_path), include=["big"]).entries()
        assert await lab.sh("echo small").stdout() == "small\n"
        assert not list((cache / "tmp").iterdir())
        await enlarge(cache, 64)
        assert len(await fills.stdout()) == 9_000_000
        big = lab.dag.host().directory(str(tmp_path), include=["big"], no_cache=True)
        assert await big.file("big").size() == 9_000_000


@as_root
async def test_a_cache_that_cannot_be_made_is_an_error_before_anything_is_asked(
    options: engine.Options, session: Open, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(engine.EngineError, match="file/cache cannot be used: Not a directory"):
        async with session(replace(options, cache_dir=tmp_path / "file" / "cache")):
            pass


@as_root
async def test_a_full_disk_of_the_container_engine_is_told_and_the_step_runs_again(
    own: OwnDaemon, options: engine.Options, session: Open
) -> None:
    data = own.home / "data"
    async with tmpfs(data, 48):
        try:
            await own.start()
            async with session(own.options(options)) as lab:
                step = lab.sh("dd if=/dev/urandom of=/big bs=1M count=28 2>/dev/null; echo done")
                with pytest.raises(dagger.QueryError, match=r"(?i)no space left"):
                    await step.sync()  # it fits once, but not a second time beside itself
                await enlarge(data, 200)
                assert await step.stdout() == "done\n"
                assert await step.file("/big").size() == 28 << 20
            assert own.containers() == []
        finally:
            own.end()


# --- the registry -----------------------------------------------------------------------------
async def test_a_registry_that_never_answers_has_a_deadline(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "STALL_TIMEOUT", 1)
    with silent_server() as port:
        name = f"127.0.0.1:{port}/app:1"
        for work in (lab.dag.container().from_(name).sync(), lab.base.publish(name)):
            with pytest.raises(
                dagger.QueryError, match=rf"127\.0\.0\.1:{port} sent nothing for 1 s"
            ):
                await work
    assert await lab.sh("echo goes on").stdout() == "goes on\n"


async def test_a_registry_that_refuses_is_told(lab: Lab) -> None:
    with silent_server() as port:
        pass  # nobody listens there any more
    with pytest.raises(dagger.QueryError, match="connection refused"):
        await lab.dag.container().from_(f"127.0.0.1:{port}/app:1").sync()


# --- who asks, or the engine itself, goes away -----------------------------------------------
async def test_when_the_client_goes_away_its_containers_are_gone_within_five_seconds(
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


async def test_when_the_client_process_is_killed_nothing_of_its_session_is_left(
    program: "subprocess.Popen[bytes]", client: docker.DockerClient
) -> None:
    await seen(client, "sleep 99.5")
    os.kill(children(program)[0], signal.SIGKILL)
    with anyio.fail_after(60):
        await anyio.to_thread.run_sync(program.wait)
    assert program.returncode == 128 + signal.SIGKILL
    assert left(client, program.pid) == 0


async def test_what_a_killed_engine_left_is_removed_by_the_next_start(
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


# --- another host -----------------------------------------------------------------------------
@as_root
async def test_a_container_engine_of_another_host_gets_all_by_its_api(
    own: OwnDaemon, options: engine.Options, session: Open, tmp_path: Path
) -> None:
    """Its mounts are its own, so a path of this host would be nothing there."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "f").write_text("from here")
    await own.start()
    with over_tcp(f"{own.home}/d.sock") as url:
        chosen = replace(own.options(options), docker=url)
        async with session(chosen) as lab:
            source = lab.dag.host().directory(str(tmp_path / "source"))
            c = lab.base.with_mounted_directory("/m", source)
            c = c.with_mounted_file("/one", source.file("f"))
            c = c.with_mounted_secret("/secret", lab.dag.set_secret("s", "hidden-there"))
            c = lab.sh("cat /m/f /one; echo changed > /m/g; test -s /secret", c)
            assert await c.stdout() == "from herefrom here"
            await c.directory("/m").export(str(tmp_path / "back"))
    assert (tmp_path / "back" / "g").read_text() == "changed\n"
