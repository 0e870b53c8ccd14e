from pathlib import Path

from ci.engine.api import reference
from ci.engine.errors import UnsupportedError
from ci.engine.fields import FIELDS, FIXED
from ci.engine.unsupported import REASONS

PAGE = Path(__file__).parents[4] / "docs" / "engine.md"


def test_the_table_in_the_docs_is_the_code() -> None:
    text = PAGE.read_text()
    assert reference.refreshed(text) == text, (
        "run `python -m ci.engine.api.reference docs/engine.md`"
    )


def test_the_table_tells_what_is_there_and_what_is_not() -> None:
    row = next(line for line in reference.table().splitlines() if line.startswith("| `Container`"))
    _, _, there, absent, _ = row.split("|")
    assert "`withExec`" in there
    assert "`terminal`" in absent
    assert "`terminal`" not in there


def test_every_field_that_the_code_names_is_one_of_the_api() -> None:
    for what in {*FIELDS, *FIXED, *REASONS} - {"Query.@value"}:
        field, _, argument = what.removesuffix(")").partition("(")
        kind, _, name = field.partition(".")
        arguments = {argument} if argument else set(FIXED.get(what, {}))
        assert arguments <= set(reference.types()[kind].fields[name].args), what


def test_an_argument_with_one_value_says_why_and_a_missing_field_may() -> None:
    assert {f"{field}({name})" for field, names in FIXED.items() for name in names} <= set(REASONS)
    assert "no terminal" in str(UnsupportedError("Container.terminal"))
    assert "engine; use a Dagger engine" in str(UnsupportedError("Container.unheardOf"))


def test_nothing_that_has_a_reason_to_be_absent_is_there() -> None:
    assert not set(REASONS) & set(FIELDS)
