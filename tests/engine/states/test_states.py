"""Files have one state: live, resumed from an image, in an archive, exported, in a new session."""

import os
import tempfile
from pathlib import Path

import anyio
import dagger
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from ci import engine
from tests.engine.behaviours import Lab
from tests.engine.conftest import Open
from tests.engine.states import chains
from tests.engine.states.chains import MOUNT, ROOT, Step
from tests.engine.states.model import Files, Node

pytestmark = pytest.mark.docker
#: Chains tried by the test with the marker `matrix`.
MANY = int(os.environ.get("ACSO_CHAINS", "150"))


async def observed(lab: Lab, steps: list[Step], models: list[chains.Model]) -> dagger.Container:
    """Build a chain and look at each state on the way that is exported."""
    containers = [chains.start(lab)]
    for number, step in enumerate(steps):
        containers.append(chains.extended(containers, step))
        if step.kind == "export":
            await exported(containers[-1], models[number + 1])
    return containers[-1]


async def exported(container: dagger.Container, model: chains.Model) -> None:
    """Compare an exported directory with the model."""
    expected = model.listing()
    roots = [ROOT, MOUNT] if model.mount else [ROOT]
    for root in roots:
        with tempfile.TemporaryDirectory() as folder:
            await container.directory(root).export(folder)
            assert chains.on_host(Path(folder)) == chains.unowned(expected, root)


async def archived(container: dagger.Container, model: chains.Model) -> None:
    """Compare an image archive with the model; a mount is not part of it."""
    with tempfile.TemporaryDirectory() as folder:
        await container.export(f"{folder}/image.tar")
        found = chains.in_archive(Path(folder, "image.tar"))
    assert found == chains.Model(model.files).listing()


async def check(options: engine.Options, session: Open, *found: list[Step]) -> None:
    """Compare all states of chains with the model, and with each other."""
    digests: dict[int, str] = {}

    async def first(lab: Lab, number: int, chain: list[Step]) -> None:
        steps, models = chains.possible(chain)
        end = await observed(lab, steps, models)
        assert await chains.listing(end) == models[-1].listing()
        await exported(end, models[-1])
        await archived(end, models[-1])
        digests[number] = await end.directory(ROOT).digest()

    async def resumed(lab: Lab, number: int, chain: list[Step]) -> None:
        steps, models = chains.possible(chain)
        end = await observed(lab, steps, models)
        assert await chains.listing(end, "resumed") == models[-1].listing()
        assert await end.directory(ROOT).digest() == digests[number]
        await exported(end, models[-1])

    for look in (first, resumed):
        async with session(options) as lab, anyio.create_task_group() as group:
            for number, chain in enumerate(found):
                group.start_soon(look, lab, number, chain)


@settings(max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate])
@given(chain=chains.chains(5, 12))
async def test_live_image_archive_export_and_the_next_session_are_one_state(
    options: engine.Options, session: Open, chain: list[Step]
) -> None:
    await check(options, session, chain)


@pytest.mark.matrix
@pytest.mark.timeout(7200)
@settings(max_examples=MANY, deadline=None, suppress_health_check=list(HealthCheck))
@given(chain=chains.chains(5, 25))
async def test_many_chains_have_one_state(
    options: engine.Options, session: Open, chain: list[Step]
) -> None:
    await check(options, session, chain)


#: What the property found, or found in the engine before it, each with the end of its model.
FOUND: dict[str, tuple[list[Step], dict[str, str]]] = {
    "a text written again after another one": (
        [Step("new file", "a", number=n) for n in (0, 1, 0)],
        {"a": "text 0"},
    ),
    "a name removed, created and removed again": (
        [
            Step("write", "a"),
            Step("remove", "a"),
            Step("new file", "a"),
            Step("remove", "a"),
        ],
        {},
    ),
    "a file in place of a directory, and a directory again": (
        [
            Step("write", "a/b"),
            Step("delete", "a"),
            Step("new file", "a"),
            Step("remove", "a"),
            Step("new file", "a/c"),
        ],
        {"a/c": "text 0"},
    ),
    "a directory of an edit that a command removes": (
        [Step("write", "a"), Step("new file", "b/c/d"), Step("delete", "b"), Step("export", "")],
        {"a": "text 0"},
    ),
    "a file at a link, and a write through a link": (
        [
            Step("write", "a"),
            Step("link", "b", other="a"),
            Step("link", "c", other="a"),
            Step("new file", "b", number=1),
            Step("write", "c", number=2),
        ],
        {"a": "text 2", "b": "text 1", "c": "a"},
    ),
    "a mount that is changed, copied and removed": (
        [
            Step("write", "a"),
            Step("mount", "", state=1),
            Step("write", "b", in_mount=True, number=1),
            Step("new file", "a", in_mount=True, number=2),
            Step("write", "c", number=3),
            Step("export", ""),
            Step("unmount", ""),
        ],
        {"a": "text 0", "c": "text 3"},
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_model_knows_what_was_found(name: str) -> None:
    chain, texts = FOUND[name]
    steps, models = chains.possible(chain)
    assert steps == chain
    assert {p: n.text for p, n in models[-1].files.nodes.items() if n.text} == texts


async def test_what_was_found_stays_found(options: engine.Options, session: Open) -> None:
    await check(options, session, *(chain for chain, _ in FOUND.values()))


def test_the_model_is_no_copy_of_its_source() -> None:
    source = Files({"": Node("d", 0o755), "f": Node("f", 0o644, text="x")})
    copied = Files()
    copied.copy_directory("d", source)
    copied.write("d/f", "y")
    assert source.nodes["f"].text == "x"
