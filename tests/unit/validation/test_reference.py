"""The document of the checks has all of them, and every check says what a reader needs."""

from pathlib import Path

import pytest

from validation import reference
from validation.model import Check
from validation.suites import known_checks

DOCUMENT = Path(__file__).parents[3] / "docs" / "validation.md"


def test_the_document_has_the_table_of_the_checks() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert reference.document(text) == text, (
        "write it: python -m validation.reference docs/validation.md"
    )


@pytest.mark.parametrize("check", known_checks().values(), ids=known_checks())
def test_every_check_says_what_it_reads_why_and_what_to_do(check: Check) -> None:
    for text in (check.title, check.why, check.remedy):
        assert text
        assert not text.endswith(".")
    assert check.reads
    assert check.seconds > check.patience
