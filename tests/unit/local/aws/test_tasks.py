"""How tasks of the embedded AWS end."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from ci.local.aws import tasks


class Ecs:
    """Of ECS's emulator, what ending a task needs."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def _task_ip(self, task: str) -> str:
        return f"ip of {task}"

    def spawn_background(self, work: Any, *arguments: Any, thread_name: str) -> None:
        thread = threading.Thread(target=work, args=arguments, name=thread_name)
        thread.start()
        self.threads.append(thread)


def test_containers_stop_one_after_the_other_but_wait_for_a_slow_one_only_so_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "STAGGER", 0.3)
    stopping: set[str] = set()
    together: list[set[str]] = []
    ecs, targets = Ecs(), SimpleNamespace(drain=lambda _address, **_: None)

    def original(task: str, _client: Any, _extra: Any) -> None:
        stopping.add(task)
        together.append(set(stopping))
        time.sleep(1.0 if task == "slow" else 0.05)
        stopping.remove(task)

    cleanup = tasks.with_draining(ecs, targets, original)  # type: ignore[arg-type]
    for name in ("a", "b", "c"):
        cleanup(name, object())
    for thread in ecs.threads:
        thread.join()
    assert [len(each) for each in together] == [1, 1, 1]
    cleanup("slow", object())
    while "slow" not in stopping:
        time.sleep(0.01)
    cleanup("next", object())
    for thread in ecs.threads:
        thread.join()
    assert together[-1] == {"slow", "next"}
