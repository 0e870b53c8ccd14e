"""Services that end, are not healthy or are stopped, and what their users get to know."""

import os
from typing import Any

import anyio
import dagger
import docker
import pytest

from ci import engine
from tests.engine.behaviours import Lab
from tests.engine.conftest import INSTANCE, Open

pytestmark = pytest.mark.docker
FRESH = os.urandom(4).hex()


def service(lab: Lab, script: str, **settings: Any) -> dagger.Service:
    return lab.base.with_env_variable("N", FRESH).as_service(args=["sh", "-c", script], **settings)


async def test_a_service_that_ends_before_it_listens_is_an_exec_error(lab: Lab) -> None:
    script = "echo out; echo err >&2; exit 42"
    broken = lab.base.with_exposed_port(80).as_service(args=["sh", "-c", script])
    bound = lab.base.with_service_binding("s", broken).with_exec(["true"])
    for start in (broken.start, bound.sync):
        with pytest.raises(dagger.ExecError, match="exit code: 42") as caught:
            await start()
        error = caught.value
        assert (error.exit_code, error.command) == (42, ["sh", "-c", script])
        assert (error.stdout, error.stderr) == ("out\n", "err\n")


async def test_a_service_that_has_ended_is_told_by_its_output(lab: Lab) -> None:
    c = lab.base.with_service_binding("s", service(lab, "echo over"))
    with pytest.raises(dagger.QueryError, match=r"aliased as s\)[^\n]*ended\nover"):
        await c.with_exec(["sleep", "60"]).sync()


async def test_a_service_that_ends_during_a_step_ends_the_step(lab: Lab) -> None:
    c = lab.base.with_service_binding("www", service(lab, "sleep 2; echo crashed >&2; exit 7"))
    with anyio.fail_after(120), pytest.raises(dagger.ExecError) as caught:
        await c.with_exec(["sleep", "600"]).sync()
    assert "(aliased as www) exited: exit code: 7\ncrashed" in str(caught.value)
    assert (caught.value.exit_code, caught.value.stderr) == (7, "crashed\n")


async def test_a_service_whose_own_service_ends_ends_too(lab: Lab) -> None:
    back = service(lab, "sleep 2; exit 9")
    front = lab.base.with_service_binding("back", back).as_service(args=["sleep", "600"])
    c = lab.base.with_service_binding("front", front).with_exec(["sleep", "600"])
    why = r"bound service \S+ \(aliased as back\) exited: exit code: 9"
    with (
        anyio.fail_after(120),
        pytest.raises(dagger.ExecError, match=rf"aliased as front\) exited: {why}"),
    ):
        await c.sync()


async def test_secrets_are_hidden_in_what_a_service_printed(lab: Lab) -> None:
    secret = lab.dag.set_secret("s", "plain-" + FRESH)
    c = lab.base.with_secret_variable("S", secret).with_exposed_port(1)
    with pytest.raises(dagger.ExecError) as caught:
        await c.as_service(args=["sh", "-c", "echo $S; echo $S >&2; exit 1"]).start()
    error = caught.value
    assert (error.stdout, error.stderr) == ("***\n", "***\n")
    assert FRESH not in str(error)


# --- health checks ------------------------------------------------------------------------------
def checked(lab: Lab, args: list[str], **settings: Any) -> dagger.Service:
    """Return a service that serves /w and is ready when a health check passes."""
    c = lab.base.with_new_file("/w/f", FRESH).with_exposed_port(8000)
    c = c.with_docker_healthcheck(args, interval="100ms", **settings)
    return c.as_service(args=["python3", "-m", "http.server", "-d", "/w", "8000"])


@pytest.mark.parametrize("shell", [True, False])
async def test_a_health_check_runs_in_the_service_until_it_passes(lab: Lab, shell: bool) -> None:
    script = "echo x >> /w/checks; test $(wc -l < /w/checks) -ge 3"
    args = [script] if shell else ["sh", "-c", script]
    ready = checked(lab, args, shell=shell, retries=5)
    fetch = "import urllib.request as r; print(r.urlopen('http://s:8000/checks').read().decode())"
    c = lab.base.with_service_binding("s", ready).with_exec(["python3", "-c", fetch])
    assert (await c.stdout()).split() == ["x"] * 3


async def test_a_health_check_that_fails_is_an_exec_error(lab: Lab) -> None:
    args = ["sh", "-c", "echo said no; echo eek >&2; exit 42"]
    c = lab.base.with_service_binding("s", checked(lab, args, retries=2)).with_exec(["true"])
    with pytest.raises(dagger.ExecError) as caught:
        await c.sync()
    error = caught.value
    assert "(aliased as s): health check errored: exit code: 42\n" in str(error)
    assert (error.exit_code, error.command) == (42, args)
    assert (error.stdout, error.stderr) == ("said no\n", "eek\n")


# --- names and the end --------------------------------------------------------------------------
async def test_a_started_service_answers_by_its_name_to_all_containers(lab: Lab) -> None:
    name = f"www-{FRESH}"
    started = checked(lab, ["true"]).with_hostname(name)
    await started.start()
    ask = f"import urllib.request as r; print(r.urlopen('http://{name}:8000/f').read().decode())"
    c = lab.base.with_exec(["python3", "-c", ask])
    assert (await c.stdout()).strip() == FRESH
    await started.stop()
    with pytest.raises(dagger.ExecError, match="exit code: 1"):
        await lab.base.with_env_variable("N", "stopped").with_exec(["python3", "-c", ask]).sync()


async def test_a_service_is_stopped_by_a_signal_that_it_gets(lab: Lab) -> None:
    cache = lab.dag.cache_volume(f"{INSTANCE}-{FRESH}-signals")
    base = lab.base.with_mounted_cache("/c", cache).with_env_variable("N", FRESH)
    script = "trap 'echo term >> /c/f; exit 0' TERM; touch /c/f; while :; do sleep 0.1; done"
    waiting = base.with_docker_healthcheck(["test", "-e", "/c/f"], interval="100ms", retries=600)
    running = waiting.as_service(args=["sh", "-c", script])
    await running.start()
    await running.stop()
    assert await base.with_exec(["cat", "/c/f"]).stdout() == "term\n"
    await running.start()
    await running.stop(kill=True)
    again = base.with_env_variable("N", FRESH + "again")
    assert await again.with_exec(["cat", "/c/f"]).stdout() == "term\n"


async def test_a_service_holds_a_locked_cache_until_it_ends(lab: Lab) -> None:
    cache = lab.dag.cache_volume(f"{INSTANCE}-{FRESH}-held")
    base = lab.base.with_mounted_cache("/c", cache, sharing=dagger.CacheSharingMode.LOCKED)
    holder = base.as_service(args=["sh", "-c", "sleep 3; echo service >> /c/f"])
    await holder.start()
    step = base.with_env_variable("N", FRESH).with_exec(["cat", "/c/f"])
    assert await step.stdout() == "service\n"


async def test_a_service_gets_no_volatile_variable(lab: Lab) -> None:
    base = lab.base.with_volatile_variable("V", "seen").with_exposed_port(8000)
    script = "mkdir /v; printf %s ${V:-none} > /v/f; exec python3 -m http.server -d /v 8000"
    ask = "import urllib.request as r; print(r.urlopen('http://s:8000/f').read().decode())"
    c = lab.base.with_service_binding("s", base.as_service(args=["sh", "-c", script]))
    assert (await c.with_exec(["python3", "-c", ask]).stdout()).strip() == "none"


async def test_docker_keeps_a_bounded_log_of_a_service(
    lab: Lab, client: docker.DockerClient
) -> None:
    running = service(lab, "exec sleep 1234")
    await running.start()
    found = client.containers.list(
        filters={"label": f"acso.instance={INSTANCE}"}, ignore_removed=True
    )
    mine = [each for each in found if "exec sleep 1234" in each.attrs["Config"]["Cmd"]]
    assert [each.attrs["HostConfig"]["LogConfig"]["Config"]["max-size"] for each in mine] == ["10m"]
    await running.stop(kill=True)


async def test_a_service_starts_where_docker_has_no_init_program(
    options: engine.Options, session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = docker.APIClient.start
    refused: list[str] = []

    def without_init(self: Any, container: str, *args: Any, **kwargs: Any) -> Any:
        if self.inspect_container(container)["HostConfig"].get("Init"):
            refused.append(container)
            text = 'exec: "docker-init": executable file not found in $PATH'
            raise docker.errors.APIError(text, explanation=text)
        return start(self, container, *args, **kwargs)

    monkeypatch.setattr(docker.APIClient, "start", without_init)
    async with session(options) as lab:
        for name in ("first", "second"):
            running = service(lab, f"exec sleep 1235 # {name}{FRESH}")
            await running.start()
            await running.stop(kill=True)
    assert len(refused) == 1  # it is not asked for again
