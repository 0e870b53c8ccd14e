"""A process's identity where there is no /proc: `ps` itself, which an image may lack."""

import os
import shutil

import pytest

from ci.common import processes
from ci.errors import HostError
from ci.local import apt


@pytest.fixture
async def ps() -> None:
    if shutil.which("ps") is None:
        await apt.install(["procps"], print, failure=HostError)


@pytest.mark.usefixtures("ps")
async def test_ps_identifies_a_process_in_any_locale_and_time_zone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = processes._start_time_by_ps(os.getpid())
    assert len(found.split()) == 5  # Mon Jan  1 10:00:00 2024
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert processes._start_time_by_ps(os.getpid()) == found
    assert processes._start_time_by_ps(2**22 + 1) == ""
