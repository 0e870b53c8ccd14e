import sys
from pathlib import Path

import anyio

from ci.engine import locks

HOLD = "import sys; from pathlib import Path; from ci.engine import locks\n" + (
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
