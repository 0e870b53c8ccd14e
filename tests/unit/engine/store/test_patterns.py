import fnmatch
import posixpath
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.engine.errors import EngineError
from ci.engine.store import patterns

SEGMENTS = st.text(alphabet="ab.", min_size=1, max_size=3).filter(lambda name: name.strip("."))
PATHS = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.py", "a.py", True),
        ("*.py", "d/a.py", False),
        ("**/*.py", "a.py", True),
        ("**/*.py", "d/e/a.py", True),
        ("d/**", "d/e/f", True),
        ("d/**", "d", False),
        ("**/d", "x/y/d", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[ab]*", "beta", True),
        ("[^ab]*", "beta", False),
        ("[]-]", "]", True),
        (r"\*", "*", True),
        (r"\*", "x", False),
        ("./a/../b", "b", True),
        ("/rooted", "rooted", True),
        ("a+b", "a+b", True),
        ("a+b", "aab", False),
        ("**b", "a/ab", True),
        ("a**b", "a/b", True),
        ("a**b", "ax/b", True),
        ("a**b", "axb", False),
        ("[!a]", "!", True),
        ("[[:digit:]]", "7", True),
    ],
)
def test_a_pattern_means_what_dockerignore_says(pattern: str, path: str, *, expected: bool) -> None:
    assert bool(patterns.compile_pattern(pattern).regex.match(path)) is expected


@given(st.text(alphabet="ab*?", max_size=6), st.text(alphabet="ab", max_size=6))
def test_within_one_name_a_pattern_is_the_shells(pattern: str, name: str) -> None:
    if "**" not in pattern and pattern:
        matched = bool(patterns.compile_pattern(pattern).regex.match(name))
        assert matched == fnmatch.fnmatchcase(name, pattern)


@given(st.lists(PATHS, max_size=8), st.lists(PATHS, max_size=3), st.lists(PATHS, max_size=3))
def test_a_selection_is_closed_upwards_and_excludes_what_lies_below(
    found: list[str], include: list[str], exclude: list[str]
) -> None:
    folders = {above for path in found for above in patterns.parents(path)}
    paths = sorted({*found, *folders})
    kept = patterns.select(paths, include, exclude)
    assert kept <= {*paths}
    for path in kept:
        assert posixpath.dirname(path) in kept | {""}
    for path in paths:
        lies = [place == path or path.startswith(place + "/") for place in exclude]
        if path not in folders and any(lies):
            assert path not in kept


@pytest.mark.parametrize("pattern", ["[b-a]x", "[ab", "x\\", "!", "[[:letter:]]"])
def test_a_bad_pattern_is_named_in_the_error(pattern: str) -> None:
    with pytest.raises(EngineError, match=re.escape(repr(pattern))):
        patterns.select(["x"], [], ["*.tmp", pattern])


def test_a_dockerignore_file_has_no_byte_order_mark_comments_or_spaces() -> None:
    data = b"\xef\xbb\xbf*\r\n# note\n\n !src \n\t#name\n"
    assert patterns.dockerignore(data) == ["*", "!src", "#name"]
