"""What a container says of how it is run: environment, user, folder, ports, labels."""

import os
from typing import Any

import dagger
import docker
import pytest

from tests.engine.behaviours import Behaviours, Lab, Shows
from tests.engine.conftest import INSTANCE

pytestmark = pytest.mark.docker
behaviour = Behaviours()


@behaviour([None, "2", True, False, True])
async def variables_are_set_listed_and_taken_away(lab: Lab) -> Any:
    c = lab.base.with_env_variable("A", "1").with_env_variable("B", "2")
    c = c.without_env_variable("A")
    names = {await variable.name() for variable in await c.env_variables()}
    single = [await c.env_variable("A"), await c.env_variable("B")]
    return [*single, "B" in names, "A" in names, "PATH" in names]


@behaviour("b a r")
async def variables_reach_commands(lab: Lab) -> Any:
    return await lab.sh('printf %s "$FOO"', lab.base.with_env_variable("FOO", "b a r")).stdout()


@behaviour(["/tmp/x/y", "/tmp/x/y\n"])
async def a_relative_folder_follows_the_one_before_and_is_made(lab: Lab) -> Any:
    c = lab.base.with_workdir("/tmp").with_workdir("x/y")
    return [await c.workdir(), await c.with_exec(["pwd"]).stdout()]


@behaviour(["1000:1000", "1000\n", "1000\n"])
async def commands_run_as_the_user(lab: Lab) -> Any:
    c = lab.base.with_user("1000:1000")
    ids = [await c.with_exec(["id", flag]).stdout() for flag in ("-u", "-g")]
    return [await c.user(), *ids]


@behaviour(["c", None])
async def labels_are_told(lab: Lab) -> Any:
    c = lab.base.with_label("a.b", "c")
    return [await c.label("a.b"), await c.label("none")]


@behaviour([["echo", "E"], ["D"], "E x\n", "plain\n"])
async def the_entrypoint_comes_first_only_when_asked_for(lab: Lab) -> Any:
    c = lab.base.with_entrypoint(["echo", "E"]).with_default_args(["D"])
    used = await c.with_exec(["x"], use_entrypoint=True).stdout()
    plain = await c.with_exec(["echo", "plain"]).stdout()
    return [await c.entrypoint(), await c.default_args(), used, plain]


@behaviour([[53, "UDP"], [8080, "TCP"]])
async def ports_are_told_with_their_protocol(lab: Lab) -> Any:
    c = lab.base.with_exposed_port(8080)
    c = c.with_exposed_port(53, protocol=dagger.NetworkProtocol.UDP)
    ports = await c.exposed_ports()
    return sorted([[await port.port(), (await port.protocol()).value] for port in ports])


@behaviour(["linux/amd64", "linux/amd64"])
async def the_platform_is_the_machines(lab: Lab) -> Any:
    return [await lab.dag.default_platform(), await lab.base.platform()]


@behaviour.cases()
async def test_behaviour(lab: Lab, shows: Shows, answer: Any) -> None:
    """Expect the answers of a Dagger engine v0.21.8 (recorder: tests/engine/behaviours.py)."""
    assert await shows(lab) == answer


# --- beyond the recorded behaviours ------------------------------------------------------------
async def test_expansion_uses_the_containers_variables(lab: Lab) -> None:
    c = lab.base.with_env_variable("V", "/opt/venv")
    c = c.with_env_variable("PATH", "${V}/bin:$PATH", expand=True)
    before = await lab.base.env_variable("PATH")
    assert await c.env_variable("PATH") == f"/opt/venv/bin:{before}"
    assert await c.with_exec(["echo", "$V"], expand=True).stdout() == "/opt/venv\n"
    c = c.with_new_file("$V/f", "x", expand=True)
    assert await c.file("/opt/venv/f").contents() == "x"


async def test_an_unset_variable_is_not_there_in_a_live_container(lab: Lab) -> None:
    c = lab.sh("true", lab.base.with_env_variable("GONE", "1"))
    script = "echo ${GONE-unset} ${FROM_HOST-unset}"
    assert await lab.sh(script, c.without_env_variable("GONE")).stdout() == "unset yes\n"


async def test_a_container_without_a_command_says_so(lab: Lab) -> None:
    with pytest.raises(dagger.QueryError, match="no command has been set"):
        await lab.dag.container().with_exec([]).stdout()
    with pytest.raises(dagger.QueryError, match="use withExec first"):
        await lab.base.stdout()


async def test_a_missing_field_is_named_with_the_way_to_a_dagger_engine(lab: Lab) -> None:
    with pytest.raises(
        dagger.QueryError, match=r"Container\.experimentalWithAllGPUs is not.*dagger run"
    ):
        await lab.base.experimental_with_all_gp_us().sync()
    with pytest.raises(
        dagger.QueryError, match=r"Container\.withExec\(insecureRootCapabilities\).*privileges"
    ):
        await lab.base.with_exec(["true"], insecure_root_capabilities=True).sync()
    with pytest.raises(
        dagger.QueryError, match="platform linux/s390x: this engine runs linux/amd64 only"
    ):
        await lab.dag.container(platform=dagger.Platform("linux/s390x")).sync()


async def test_the_log_says_which_image_is_used_instead(lab: Lab) -> None:
    await lab.base.platform()
    used = next(iter(lab.options.images.values()))
    assert f"from python:3.11-slim: using {used} instead" in lab.lines


async def test_a_healthcheck_is_told_and_is_in_the_image(
    lab: Lab, client: docker.DockerClient
) -> None:
    settings: dict[str, Any] = {"shell": True, "interval": "1m30s", "timeout": "3s", "retries": 4}
    c = lab.base.with_docker_healthcheck(["curl -f localhost"], **settings)
    check = c.docker_healthcheck()
    assert [await check.args(), await check.shell()] == [["curl -f localhost"], True]
    assert [await check.interval(), await check.timeout(), await check.retries()] == [
        "1m30s",
        "3s",
        4,
    ]
    plain = lab.base.with_docker_healthcheck(["c"]).docker_healthcheck()
    assert [await plain.interval(), await plain.timeout(), await plain.retries()] == ["0s", "0s", 0]
    assert await c.without_docker_healthcheck().docker_healthcheck().args() == []
    name = f"acso-test-health:{INSTANCE}"
    await lab.keep(c, name)
    try:
        made = client.containers.create(name)  # Podman's image does not tell it here
        found = made.attrs["Config"]["Healthcheck"]
        made.remove()
        assert found["Test"] == ["CMD-SHELL", "curl -f localhost"]
        again = lab.dag.host().container_image(name)
        assert await again.docker_healthcheck().interval() == "1m30s"
    finally:
        client.images.remove(name)
    with pytest.raises(dagger.QueryError, match="has no image of that name"):
        await lab.dag.host().container_image("acso-test/none").sync()


async def test_variables_come_from_a_file_of_them(lab: Lab) -> None:
    text = "A=1\nB='$A'\nC=\"${A}2\"\n# none\n"
    variables = lab.dag.file(".env", text).as_env_file()
    c = lab.base.with_env_variable("A", "old").with_env_file_variables(variables)
    assert await lab.sh("echo $A $B $C", c).stdout() == "1 $A 12\n"
    variables = variables.with_variable("D", "4").without_variable("B")
    assert [await variables.get("C"), await variables.get("C", raw=True)] == ["12", '"${A}2"']
    assert await variables.as_file().contents() == 'A=1\nC="${A}2"\nD=4\n'
    assert [await each.name() for each in await variables.variables()] == ["A", "C", "D"]
    assert not await lab.dag.env_file().exists("A")


async def test_the_name_of_a_volatile_variable_is_in_the_key_and_not_its_value(lab: Lab) -> None:
    c = lab.base.with_env_variable("SALT", os.urandom(4).hex()).with_env_variable("RUN", "0")
    said = [
        await lab.sh("echo run $RUN", c.with_volatile_variable("RUN", number)).stdout()
        for number in ("1", "2")
    ]
    assert said == ["run 1\n", "run 1\n"]
    bare = c.with_volatile_variable("RUN", "3").without_volatile_variable("RUN")
    assert await lab.sh("echo run $RUN", bare).stdout() == "run 0\n"


async def test_an_error_asked_for_is_raised_when_a_result_is(lab: Lab) -> None:
    fine, broken = lab.base.with_error(""), lab.base.with_error("not today")
    assert await fine.workdir() == await lab.base.workdir()
    assert await broken.with_env_variable("A", "1").id()
    with pytest.raises(dagger.QueryError, match="not today"):
        await broken.with_env_variable("A", "1").env_variable("A")
    with pytest.raises(dagger.QueryError, match="no folder"):
        await lab.dag.directory().with_error("no folder").entries()
