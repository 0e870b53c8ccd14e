"""The disk of the cache or of the container engine is full."""

import os
from dataclasses import replace
from pathlib import Path

import dagger
import pytest

from ci import engine
from tests.engine.conftest import Open
from tests.engine.daemons import OwnDaemon, enlarge, tmpfs
from tests.engine.faults.looking import as_root

# docker-py forgets a socket that could not be connected: no fault of what is tested here.
pytestmark = [
    pytest.mark.docker,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


@as_root
async def test_a_full_cache_is_named_in_the_error_and_holds_no_partial_result(
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
async def test_a_cache_that_cannot_be_created_fails_before_the_session_opens(
    options: engine.Options, session: Open, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(engine.EngineError, match="file/cache cannot be used: Not a directory"):
        async with session(replace(options, cache_dir=tmp_path / "file" / "cache")):
            pass


@as_root
async def test_a_full_disk_of_the_container_engine_fails_the_step_which_can_run_again(
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
