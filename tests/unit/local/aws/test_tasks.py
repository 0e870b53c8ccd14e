"""How tasks of the embedded AWS end."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from ci.local.aws import tasks


class Ecs:
    """The part of ministack's ECS that ending a task needs."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def _task_ip(self, task: str) -> str:
        return f"ip of {task}"

    def spawn_background(self, work: Any, *arguments: Any, thread_name: str) -> None:
        thread = threading.Thread(target=work, args=arguments, name=thread_name)
        thread.start()
        self.threads.append(thread)

    def join(self) -> None:
        for thread in self.threads:
            thread.join(timeout=30)
            assert not thread.is_alive()


TARGETS: Any = SimpleNamespace(drain=lambda _address, **_: None)


def test_containers_are_stopped_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "STAGGER", 30)
    ecs, stopping, together = Ecs(), set[str](), list[int]()

    def stop(task: str, _client: Any, _extra: Any) -> None:
        stopping.add(task)
        threading.Event().wait(0.01)  # gives the others a chance to interfere
        together.append(len(stopping))
        stopping.remove(task)

    cleanup = tasks.with_draining(ecs, TARGETS, stop)
    for name in ("a", "b", "c"):
        cleanup(name, object())
    ecs.join()
    assert together == [1, 1, 1]


def test_a_container_that_stops_slowly_delays_the_next_one_for_a_limited_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "STAGGER", 0.01)
    ecs, slow_stops, next_stops = Ecs(), threading.Event(), threading.Event()

    def stop(task: str, _client: Any, _extra: Any) -> None:
        if task == "slow":
            slow_stops.set()
            assert next_stops.wait(30)  # so the next one does not wait for the end of this one
        next_stops.set()

    cleanup = tasks.with_draining(ecs, TARGETS, stop)
    cleanup("slow", object())
    assert slow_stops.wait(30)
    cleanup("next", object())
    ecs.join()
    assert next_stops.is_set()
