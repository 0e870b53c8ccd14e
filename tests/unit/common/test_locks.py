import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from ci.common import locks

HOLD = "import sys; from pathlib import Path; from ci.common import locks\n" + (
    "lock = locks.Lock(Path(sys.argv[1])); print('held', flush=True); input()"
)


async def test_a_lock_holds_between_processes_and_ends_with_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    async with await anyio.open_process(command) as other:
        assert other.stdout is not None
        assert (await other.stdout.receive()).startswith(b"held")
        assert locks.attempt(path) is None
        ended: list[int | None] = []
        async with anyio.create_task_group() as group:

            async def waiting() -> None:
                with anyio.fail_after(10):
                    async with locks.held(path):
                        ended.append(other.returncode)

            group.start_soon(waiting)
            other.kill()
            await other.wait()
        assert ended


async def test_who_waits_is_called_back_once_and_gives_up_after_the_time(tmp_path: Path) -> None:
    path, calls = tmp_path / "lock", list[int]()
    async with locks.held(path, waiting=lambda: calls.append(1)):
        assert calls == []
        with pytest.raises(locks.LockTimeoutError, match="another process has held"):
            async with locks.held(path, waiting=lambda: calls.append(1), seconds=0.1):
                pass
    assert calls == [1]
    async with locks.held(path):
        pass


async def test_the_lock_of_a_removed_file_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    async with locks.held(path):
        path.unlink()
        lock = locks.attempt(path)  # of another file at the same path
        assert lock is not None
        path.unlink()
        assert not lock.current()
        lock.close()


async def test_a_lock_file_can_go_with_its_lock(tmp_path: Path) -> None:
    async with locks.held(tmp_path / "lock", keep=False):
        assert (tmp_path / "lock").exists()
    assert not (tmp_path / "lock").exists()


async def test_a_child_that_inherits_a_lock_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    async with locks.held(path) as descriptor:
        child = subprocess.Popen(["sleep", "99"], pass_fds=[descriptor])  # noqa: ASYNC220
    try:
        assert locks.attempt(path) is None
    finally:
        child.kill()
        child.wait()
    lock = locks.attempt(path)
    assert lock is not None
    lock.close()
