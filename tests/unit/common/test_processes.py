import os
import subprocess
import sys

import pytest

from ci.common import processes


def test_a_process_is_identified_by_its_number_and_start_time() -> None:
    pid = os.getpid()
    started = processes.start_time(pid)
    assert started
    assert processes.alive(pid, started)
    assert not processes.alive(pid, "another time")  # the number is used again
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert processes.start_time(ended.pid) == ""
    assert not processes.alive(ended.pid, started)


def test_a_zombie_does_not_run() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, not reaped
    assert processes.start_time(child.pid) == ""
    assert not processes.alive(child.pid, "")
    child.wait()


def test_a_process_that_this_user_may_not_see_counts_as_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(pid: int, signal: int) -> None:
        raise PermissionError(pid, signal)

    monkeypatch.setattr(os, "kill", refuse)
    assert processes.alive(2**22 + 1, "some time")


def test_the_host_is_one_machine_boot_and_process_space() -> None:
    name, boot, namespace = processes.host().split("/")
    assert name
    assert boot == processes.boot()
    assert namespace.startswith("pid:")
