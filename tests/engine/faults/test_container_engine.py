"""The container engine stops, is replaced, or runs on another host."""

import signal
from dataclasses import replace
from pathlib import Path

import anyio
import dagger
import pytest

from ci import engine
from ci.engine.docker import docker_api
from tests.engine.conftest import INSTANCE, Open
from tests.engine.daemons import OwnDaemon, over_tcp
from tests.engine.faults.looking import as_root, seen

# docker-py forgets a socket that could not be connected: no fault of what is tested here.
pytestmark = [
    pytest.mark.docker,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


@as_root
@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.matrix)],
    ids=["stopped", "killed"],
)
async def test_a_step_reports_that_the_container_engine_ended_and_the_session_continues(
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
async def test_a_session_can_end_while_the_container_engine_is_down(
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


@as_root
async def test_a_container_engine_of_another_host_gets_all_content_by_its_api(
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
