from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def documents() -> list[Path]:
    """Return every document of the repository."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob(".github/*.md")])


@pytest.fixture
def readme() -> str:
    return (ROOT / "README.md").read_text()
