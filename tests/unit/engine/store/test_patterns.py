import fnmatch
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    paths = [(path, path in folders) for path in sorted({*found, *folders})]
    kept = patterns.select(paths, include, exclude)
    assert kept <= {path for path, _ in paths}
    for path in kept:
        assert posixpath.dirname(path) in kept | {""}
    for path, folder in paths:
        lies = [place == path or path.startswith(place + "/") for place in exclude]
        if not folder and any(lies):
            assert path not in kept


@pytest.mark.parametrize(
    ("rules", "path", "directory", "ignored"),
    [
        ("*.pyc", "a/b.pyc", False, True),
        ("/top", "top", False, True),
        ("/top", "a/top", False, False),
        ("build/", "build", True, True),
        ("build/", "src/build", False, False),
        ("a/b", "a/b", False, True),
        ("a/b", "c/a/b", False, False),
        ("*.log\n!keep.log", "keep.log", False, False),
        ("# note\n\n*.x", "# note", False, False),
        ("logs", "logs/today", False, True),
    ],
)
def test_gitignore_is_gits(rules: str, path: str, *, directory: bool, ignored: bool) -> None:
    matcher = patterns.Matcher(patterns.gitignore(rules))
    assert matcher.matches(path, directory=directory) is ignored


def test_a_nested_gitignore_speaks_of_its_own_folder() -> None:
    matcher = patterns.Matcher(patterns.gitignore("/x\n*.y", "sub"))
    assert matcher.matches("sub/x")
    assert matcher.matches("sub/deep/a.y")
    assert not matcher.matches("x")
