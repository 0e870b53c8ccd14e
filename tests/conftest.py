"""The width of output, the profiles of hypothesis, and what may run in parallel.

`pytest --hypothesis-profile=long` runs fuzz tests with 2,000 examples.
"""

import os
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Tables are as wide as they have to be, whatever terminal the tests run in.
os.environ.pop("COLUMNS", None)

settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("long", deadline=None, print_blob=True, max_examples=2000)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for sockets: the path of one has at most 108 characters."""
    with tempfile.TemporaryDirectory(prefix="acso-", ignore_cleanup_errors=True) as path:
        yield Path(path)


#: Folders whose tests share an embedded AWS, a checkout or an engine: one process runs them all.
GROUPS = {
    "tests/e2e": "releases",
    "tests/local": "releases",
    "tests/validation": "releases",
    "tests/engine": "engine",
}


@pytest.hookimpl(optionalhook=True)  # there is no pytest-xdist in the container of the gate
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process whole groups of tests, else whole files, in the order of collection.

    `--dist=loadgroup` does not group with pytest 9.2, which does not let a plugin change node ids.
    """
    scheduler = import_module("xdist.scheduler").LoadScopeScheduling(config, log)
    scheduler._split_scope = _group
    config.option.loadscopereorder = False
    return scheduler


def _group(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    return GROUPS.get("/".join(file.split("/")[:2]), file)
