"""Places of keys: every key of a TOML text has one, and it is where the key is written."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.config.positions import Position, position, positions

TEXT = """\
# a comment with [brackets] = "and quotes"
title = "x # no comment"

[a.b]   # table
key = 1
"quoted" = 'it is'
dotted.inner.leaf = 2026-01-02T03:04:05Z
list = [
  "one", # two = 2
  { in = "line", deep = [1.5, [2]] },
]
table = {x = {y = 1}, z.w = true}
text = \"\"\"
[not.a.table]
key = 2
\"\"\"
raw = '''
key = 3'''
[[many]]
first = 1
[ spaced . name ]
end = -1.0e+3
"""


def at(where: str) -> tuple[int, int]:
    found = positions(TEXT)[where]
    return found.line, found.column


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ("title", (2, 1)),
        ("a", (4, 2)),
        ("a.b", (4, 2)),
        ("a.b.key", (5, 1)),
        ("a.b.quoted", (6, 1)),
        ("a.b.dotted.inner.leaf", (7, 1)),
        ("a.b.list", (8, 1)),
        ("a.b.list[0]", (9, 3)),
        ("a.b.list[1]", (10, 3)),
        ("a.b.list[1].in", (10, 5)),
        ("a.b.list[1].deep[1][0]", (10, 32)),
        ("a.b.table.x.y", (12, 15)),
        ("a.b.table.z.w", (12, 23)),
        ("a.b.raw", (17, 1)),
        ("many.first", (20, 1)),
        ("spaced.name", (21, 3)),
        ("spaced.name.end", (22, 1)),
    ],
)
def test_a_key_is_found_where_it_is_written(where: str, place: tuple[int, int]) -> None:
    assert at(where) == place


def test_what_is_inside_texts_and_comments_is_no_key() -> None:
    assert not {"not", "brackets", "a.b.not", "two"} & positions(TEXT).keys()


def test_a_missing_key_is_at_its_table() -> None:
    found = positions(TEXT)
    assert position(found, "a.b.list[7]") == found["a.b.list"]
    assert position(found, "a.b.absent.more") == Position(line=4, column=2)
    assert position(found, "absent") is None


KEYS = st.from_regex(r"[a-z0-9_-]{1,4}", fullmatch=True)
VALUES = st.recursive(
    st.integers() | st.booleans() | st.from_regex(r"[a-z#=\[\]{},. ]{0,9}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {written(item)}" for key, item in value.items()) + "}"
    return str(value)


def names(where: str, value: Any) -> set[str]:
    if isinstance(value, list):
        items = [(f"{where}[{n}]", item) for n, item in enumerate(value)]
    elif isinstance(value, dict):
        items = [(f"{where}.{key}" if where else key, item) for key, item in value.items()]
    else:
        return set()
    return {name for name, _ in items}.union(*(names(name, item) for name, item in items))


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3), max_size=3))
def test_every_key_that_tomllib_reads_has_a_place(data: dict[str, dict[str, Any]]) -> None:
    text = "".join(
        f"[{table}]\n" + "".join(f"{key} = {written(item)}\n" for key, item in items.items())
        for table, items in data.items()
    )
    assert tomllib.loads(text) == data
    assert positions(text).keys() == names("", data)
