import pytest

from ci.config import Config, load
from tests.unit.infra.parsing import ROOT


@pytest.fixture(scope="module")
def config() -> Config:
    return load(ROOT / "tests" / "acso.toml")
