"""Commands: streams, exit codes, what stays behind, what is cached."""

import os
from typing import Any

import anyio
import dagger
import pytest

from tests.engine.behaviours import Behaviours, Lab, Shows
from tests.engine.conftest import INSTANCE

pytestmark = pytest.mark.docker
behaviour = Behaviours()
FRESH = os.urandom(8).hex()  # what no cache has seen


@behaviour(["out\n", "err\n", 0])
async def streams_are_apart(lab: Lab) -> Any:
    c = lab.sh("echo out; echo err >&2")
    return [await c.stdout(), await c.stderr(), await c.exit_code()]


@behaviour(["err", "out"])
async def combined_output_has_both_streams(lab: Lab) -> Any:
    return sorted((await lab.sh("echo out; echo err >&2").combined_output()).split())


@behaviour("a b|$HOME|*|")
async def arguments_pass_no_shell(lab: Lab) -> Any:
    return await lab.base.with_exec(["printf", "%s|", "a b", "$HOME", "*"]).stdout()


@behaviour([7, ["sh", "-c", "echo o; echo e >&2; exit 7"], "o", "e"])
async def a_failure_carries_command_code_and_streams(lab: Lab) -> Any:
    with pytest.raises(dagger.ExecError) as caught:
        await lab.sh("echo o; echo e >&2; exit 7").sync()
    error = caught.value
    return [error.exit_code, error.command, error.stdout, error.stderr]


@behaviour(1)
async def a_program_that_is_not_there_fails_with_code_1(lab: Lab) -> Any:
    with pytest.raises(dagger.ExecError) as caught:
        await lab.base.with_exec(["no-such-binary"]).sync()
    return caught.value.exit_code


@behaviour([1, True])
async def what_a_program_says_of_its_failure_is_in_stderr(lab: Lab) -> Any:
    with pytest.raises(dagger.ExecError) as caught:
        await lab.base.with_exec(["python3", "-c", "raise SystemExit('boom')"]).sync()
    return [caught.value.exit_code, "boom" in caught.value.stderr]


@behaviour([3, "still\n"])
async def any_exit_code_can_be_expected(lab: Lab) -> Any:
    c = lab.sh("echo still; exit 3", expect=dagger.ReturnType.ANY)
    return [await c.exit_code(), await c.stdout()]


@behaviour("fed in\n")
async def stdin_is_fed(lab: Lab) -> Any:
    return await lab.base.with_exec(["cat"], stdin="fed in\n").stdout()


@behaviour("1\ne\n")
async def files_stay_for_the_next_command(lab: Lab) -> Any:
    return await lab.sh("cat /a; ls /d", lab.sh("echo 1 > /a; mkdir -p /d/e")).stdout()


@behaviour([3000073, "xxxxx"])
async def three_megabytes_of_output_arrive(lab: Lab) -> Any:
    script = "print('x'*70+'\\n','y'*3000000)"
    out = await lab.base.with_exec(["python3", "-c", script]).stdout()
    return [len(out), out[:5]]


@behaviour("grüße ☃ 日本")
async def output_is_utf8(lab: Lab) -> Any:
    return await lab.base.with_exec(["printf", "%s", "grüße ☃ 日本"]).stdout()


@behaviour(True)
async def a_result_asked_twice_is_the_same(lab: Lab) -> Any:
    c = lab.sh(f"date +%s%N; : {FRESH}")
    return (await c.stdout()) == (await c.stdout())


@behaviour(True)
async def equal_chains_run_once(lab: Lab) -> Any:
    def chain() -> dagger.Container:
        return lab.sh("date +%s%N", lab.base.with_env_variable("S", FRESH))

    return (await chain().stdout()) == (await chain().stdout())


@behaviour(False)
async def another_environment_runs_again(lab: Lab) -> Any:
    def chain(value: str) -> dagger.Container:
        return lab.sh("date +%s%N", lab.base.with_env_variable("S", FRESH + value))

    return (await chain("a").stdout()) == (await chain("b").stdout())


@behaviour(True)
async def six_branches_run_side_by_side(lab: Lab) -> Any:
    cache = lab.dag.cache_volume(f"{INSTANCE}-branches-{FRESH}")
    # Each branch ends only after all six have started.
    script = "touch /c/$S; until [ $(ls /c | wc -l) -ge 6 ]; do sleep 0.05; done"
    async with anyio.create_task_group() as group:
        for number in range(6):
            branch = lab.base.with_mounted_cache("/c", cache).with_env_variable("S", str(number))
            group.start_soon(lab.sh(script, branch).sync)
    return True


@behaviour("1\n2\n")
async def sync_gives_the_same_container(lab: Lab) -> Any:
    c = await lab.sh("echo 1 > /f").sync()
    c = await lab.sh("echo 2 >> /f", c).sync()
    return await c.file("/f").contents()


@behaviour("1")
async def with_applies_a_function(lab: Lab) -> Any:
    return await lab.base.with_(lambda c: c.with_env_variable("H", "1")).env_variable("H")


@behaviour.cases()
async def test_behaviour(lab: Lab, shows: Shows, answer: Any) -> None:
    """Expect the answers of a Dagger engine v0.21.8 (recorder: tests/engine/behaviours.py)."""
    assert await shows(lab) == answer


# --- beyond the recorded behaviours ------------------------------------------------------------
async def test_branches_of_one_state_do_not_see_each_other(lab: Lab) -> None:
    trunk = lab.sh("echo trunk > /t")
    left, right = lab.sh("echo l > /l", trunk), lab.sh("echo r > /r; rm /t", trunk)
    assert await lab.sh("ls /l /t", left).stdout() == "/l\n/t\n"
    assert await lab.sh("ls / | grep -E '^(l|r|t)$'", right).stdout() == "r\n"


async def test_what_a_command_leaves_running_ends_with_it(lab: Lab) -> None:
    c = lab.sh("(while :; do date >> /beat; sleep 0.05; done) >/dev/null 2>&1 & sleep 0.3")
    size = await lab.sh("wc -c < /beat", c).stdout()
    assert await lab.sh("sleep 0.5; wc -c < /beat", c).stdout() == size


async def test_a_failed_command_is_tried_again(lab: Lab) -> None:
    failing = lab.sh("echo tried; exit 1")
    for _ in range(2):
        with pytest.raises(dagger.ExecError):
            await failing.sync()
    assert sum("failed sh -c echo tried" in line for line in lab.lines) == 2


async def test_a_signal_is_a_failure_whatever_was_expected(lab: Lab) -> None:
    with pytest.raises(dagger.ExecError) as caught:
        await lab.sh("kill -9 $$", expect=dagger.ReturnType.ANY).sync()
    assert caught.value.exit_code == 137


async def test_output_goes_into_files_and_input_comes_from_them(lab: Lab) -> None:
    c = lab.base.with_new_file("/in", "b\na\n")
    c = c.with_exec(["sort"], redirect_stdin="/in", redirect_stdout="/out")
    assert await c.file("/out").contents() == "a\nb\n"
    assert await lab.sh("cat /out", c).stdout() == "a\nb\n"


async def test_a_long_output_is_cut_in_the_error_and_its_end_is_kept(lab: Lab) -> None:
    with pytest.raises(dagger.ExecError) as caught:
        await lab.base.with_exec(["python3", "-c", "print('z'*300000); raise SystemExit(2)"]).sync()
    omitted, _, rest = caught.value.stdout.partition("...")
    assert omitted.startswith("[omitting ")
    assert rest.strip("z") == ""
    assert 100_000 <= len(rest) <= 102_400  # 100 KiB with the note, as Dagger cuts it


async def test_nothing_runs_before_a_result_is_asked_for(lab: Lab) -> None:
    c = lab.sh("exit 1").with_env_variable("A", "1").with_workdir("/x")
    assert [await c.env_variable("A"), await c.workdir()] == ["1", "/x"]
    assert await c.id()
    with pytest.raises(dagger.ExecError, match="exit code: 1"):
        await c.sync()


async def test_output_can_go_into_a_mount_and_errors_too(lab: Lab) -> None:
    c = lab.base.with_mounted_directory("/m", lab.dag.directory()).with_workdir("/m")
    script = ["sh", "-c", "echo out; echo err >&2"]
    c = c.with_exec(script, redirect_stdout="o", redirect_stderr="/e")
    assert [await c.file("/m/o").contents(), await c.file("/e").contents()] == ["out\n", "err\n"]
    assert await lab.sh("cat /m/o /e", c).stdout() == "out\nerr\n"
    assert await c.directory("/m").entries() == ["o"]
