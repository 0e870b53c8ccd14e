"""Tags: what they name is the registry's to say, and the user's own stay as they are."""

from collections.abc import Iterator
from pathlib import Path

import anyio
import docker
import pytest

from ci.engine.docker.borrowed_tags import BorrowedTags
from ci.engine.docker.docker_api import Daemon
from ci.engine.store.cache import Store
from tests.engine.behaviours import Lab
from tests.engine.conftest import INSTANCE, Open

pytestmark = pytest.mark.docker


@pytest.fixture
def tags(client: docker.DockerClient) -> Iterator[list[str]]:
    """Tags to remove after a test."""
    made: list[str] = []
    yield made
    for tag in made:
        client.images.remove(tag)


async def test_a_tag_names_what_its_registry_has_now(
    lab: Lab, session: Open, registry: str, tags: list[str]
) -> None:
    name = f"{registry}/app:moving"
    await lab.base.with_label("version", "1").publish(name)
    assert await lab.dag.container().from_(name).label("version") == "1"
    tags.append(name)  # pulled
    await lab.base.with_label("version", "2").publish(name)
    async with session(lab.options) as other:
        assert await other.dag.container().from_(name).label("version") == "2"
        assert f"pull {name}" in other.lines


async def test_a_registry_that_does_not_answer_leaves_the_local_image_and_the_log_says_so(
    lab: Lab, image: str, client: docker.DockerClient, tags: list[str]
) -> None:
    name = f"localhost:1/none/{INSTANCE}:here"
    client.images.get(image).tag(*name.rsplit(":", 1))
    tags.append(name)
    assert await lab.dag.container().from_(name).with_exec(["echo", "ran"]).stdout() == "ran\n"
    said = f"from {name}: using the local image, localhost:1 did not confirm it: "
    assert [line for line in lab.lines if line.startswith(said)]


async def test_a_publish_leaves_the_users_tags_as_they_were(
    lab: Lab, registry: str, image: str, client: docker.DockerClient, tags: list[str]
) -> None:
    own = client.images.get(image)
    name = f"{registry}/app:mine"
    own.tag(*name.rsplit(":", 1))
    tags.append(name)
    await lab.base.with_label("published", "yes").publish(name)
    assert client.images.get(name).id == own.id
    await lab.base.with_label("published", "yes").publish(f"{registry}/app:new")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get(f"{registry}/app:new")


async def test_the_next_session_gives_back_what_a_killed_one_borrowed(
    lab: Lab, image: str, client: docker.DockerClient, tmp_path: Path, tags: list[str]
) -> None:
    own = client.images.get(image)
    name, free = f"acso-test-kept:{INSTANCE}", f"acso-test-free:{INSTANCE}"
    await lab.keep(lab.base.with_label("other", "image"), f"acso-test-other:{INSTANCE}")
    other = client.images.get(f"acso-test-other:{INSTANCE}")
    tags += [name, f"acso-test-other:{INSTANCE}"]
    own.tag(*name.rsplit(":", 1))
    store = Store(tmp_path / "cache")
    daemon = await anyio.to_thread.run_sync(Daemon, None, lab.options.labels)
    borrowing = BorrowedTags(store, daemon, lab.lines.append)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BorrowedTags, "_give_back", _nothing)
        for each in (name, free):
            async with borrowing.borrowed(each, str(other.id)):
                assert client.images.get(each).id == other.id
    await borrowing.give_back_all()
    assert client.images.get(name).id == own.id
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get(free)
    assert not [tag for tag in client.images.get(image).tags if "borrowed" in tag]
    assert not list((store.root / "borrowed").iterdir())
    store.close()


async def _nothing(*_: object) -> None:
    """Stand for a process that is killed before it can give a tag back."""
