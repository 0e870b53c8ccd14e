"""The width of output, the profiles of hypothesis, and what may run in parallel.

`pytest --hypothesis-profile=long` runs fuzz tests with 2,000 examples.
"""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Tables are as wide as they have to be, whatever terminal the tests run in.
os.environ.pop("COLUMNS", None)

settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("long", deadline=None, print_blob=True, max_examples=2000)

#: Folders whose tests share an embedded AWS, a checkout or an engine: one process runs them all.
GROUPS = {"e2e": "releases", "local": "releases", "engine": "engine"}
TESTS = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say which tests one process of several runs (`--dist loadgroup` of pytest-xdist)."""
    if not config.pluginmanager.hasplugin("xdist"):
        return  # not in the container of the gate
    for item in items:
        name = item.path.relative_to(TESTS)
        item.add_marker(pytest.mark.xdist_group(GROUPS.get(name.parts[0], str(name))))
