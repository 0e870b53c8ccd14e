"""How an error leaves a function of the module: as one sentence with what to do."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from dagger.mod._exceptions import FunctionError

from ci.errors import AcsoError, LockedError, StageError
from ci.pipeline import decorators

LOCKED = LockedError("staging is locked", hint="wait for it: --wait SECONDS")


async def plain() -> str:
    raise LOCKED


async def in_a_task_group() -> str:
    async with anyio.create_task_group() as outer, anyio.create_task_group() as inner:
        outer.start_soon(anyio.sleep_forever)
        inner.start_soon(plain)
    return ""


def exposed(method: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[str]]:
    return decorators._reporting(method)  # type: ignore[arg-type]


@pytest.mark.parametrize("failing", [plain, in_a_task_group])
async def test_dagger_call_shows_the_sentence_and_what_to_do(
    failing: Callable[[], Awaitable[str]],
) -> None:
    with pytest.raises(FunctionError) as raised:
        await exposed(failing)()
    assert str(raised.value) == "staging is locked\n  next: wait for it: --wait SECONDS"


async def test_an_error_without_a_hint_is_its_sentence() -> None:
    async def failing() -> str:
        raise StageError("lint failed")

    with pytest.raises(FunctionError, match=r"^lint failed$"):
        await exposed(failing)()


async def test_a_function_that_another_one_calls_raises_the_error_itself() -> None:
    caught: list[AcsoError] = []

    async def calling() -> str:
        try:
            return await exposed(plain)()
        except LockedError as error:
            caught.append(error)
            raise

    with pytest.raises(FunctionError):
        await exposed(calling)()
    assert caught == [LOCKED]


async def test_the_command_line_gets_the_error_itself() -> None:
    with decorators.in_process(), pytest.raises(LockedError) as raised:
        await exposed(plain)()
    assert raised.value is LOCKED
    with pytest.raises(FunctionError):  # and not for ever
        await exposed(plain)()


async def test_an_unexpected_error_leaves_a_task_group_as_itself() -> None:
    async def failing() -> str:
        async with anyio.create_task_group() as group:
            group.start_soon(unexpected)
        return ""

    async def unexpected() -> None:
        message = "a defect"
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="a defect"):
        await exposed(failing)()


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        ("./acso status --env staging", "dagger call status --env staging"),
        (
            "make a plan: ./acso plan --env x --output plan.json",
            "make a plan: dagger call plan --env x --format json --output plan.json",
        ),
        ("`acso run-task --agent X`", "`dagger call run-task --agent X`"),
        ("./acso doctor", "./acso doctor"),  # dagger call has no such command
        ("log in, or use --aws local", "log in, or use --endpoint URL of another AWS"),
    ],
)
async def test_dagger_call_proposes_its_own_commands_and_flags(hint: str, told: str) -> None:
    import ci.main  # noqa: F401  # makes the functions known

    async def failing() -> str:
        raise AcsoError("no", hint=hint)

    async def succeeding() -> str:
        return f"done\nnext: {hint}"

    with pytest.raises(FunctionError) as raised:
        await exposed(failing)()
    assert str(raised.value) == f"no\n  next: {told}"
    assert await exposed(succeeding)() == f"done\nnext: {told}"
    with decorators.in_process():
        assert await exposed(succeeding)() == f"done\nnext: {hint}"


def test_every_hint_names_a_command_that_exists() -> None:
    from ci.cli.program import make_parser
    from ci.cli.signatures import from_module

    root = Path(__file__).parents[3]
    commands = make_parser(from_module()).format_help()
    for path in [*root.glob("ci/**/*.py"), *root.glob("validation/*.py")]:
        for verb in re.findall(r"\./acso ([a-z-]+)", path.read_text()):
            assert f"    {verb} " in commands, f"{path}: ./acso {verb}"
