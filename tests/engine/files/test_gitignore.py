import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from posixpath import dirname

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ci.engine.store.gitignore import NAME, Gitignore

#: Files below a repository; the folders are those above them.
FILES = (
    *(
        "a",
        "ab",
        "b.o",
        "A",
        "9",
        " a",
        "a ",
        "a\t",
        "#a",
        "!a",
        "[a]",
        "a]",
        "\\a",
        "\xe9",
        "-",
        "^",
    ),
    *("d/a", "d/ab", "d/b.o", "d/e/a", "d/e/b.o", "d/e/f/a", "d/[a]/a", "d/\xe9/9"),
    *("e/a", "e/d/a", "e/d/e/ab", "(d)/a", "(d)/b.o", "*/a", "**/a", "caf\udce9", "d/a\nb"),
)
PIECES = (
    *(
        "a",
        "b",
        "d",
        "e",
        "f",
        "*.o",
        ".",
        "\xe9",
        "*",
        "**",
        "***",
        "?",
        "/",
        "/",
        "\\",
        " ",
        "\t",
    ),
    *("[ab]", "[!a]", "[^a]", "[a-e]", "[e-a]", "[]a]", "[a-]", "[\\]a]", "[[:alpha:]]", "[[:x:]]"),
    *("[!/]", "[--0]", "[a/b]", "[", "]", "!", "#", "-", "\r", "[[:digit:]", "[[a:]", "caf\udce9"),
)
LINES = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
RULES = st.lists(LINES | LINES.map("!".__add__), max_size=5).map("\n".join)

Ask = Callable[[dict[str, str]], tuple[set[str], set[str]]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Return what git ignores below a repository with these `.gitignore` files, and what we do."""
    root = tmp_path_factory.mktemp("repository")
    env = {"PATH": os.environ["PATH"], "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "init", "-q", root], check=True, env=env)
    for path in FILES:
        Path(root, path).parent.mkdir(parents=True, exist_ok=True)
        Path(root, path).touch()
    paths = sorted({*FILES, *filter(None, map(dirname, FILES)), "d/e/f", "e/d/e"}, key=os.fsencode)

    def both(rules: dict[str, str]) -> tuple[set[str], set[str]]:
        for folder in ("", "d", "d/e"):
            Path(root, folder, NAME).write_bytes(os.fsencode(rules.get(folder, "")))
        found = subprocess.run(
            ["git", "check-ignore", "--no-index", "--stdin", "-z"],
            input=b"\0".join(os.fsencode(f"./{path}") for path in paths),
            cwd=root,
            env=env,
            capture_output=True,
            check=False,
        )
        assert found.returncode in (0, 1), found.stderr
        gits = {os.fsdecode(path)[2:] for path in found.stdout.split(b"\0") if path}
        ours = Gitignore(repository=True)
        for folder, text in rules.items():
            ours.add(folder, os.fsencode(text))
        ignored: set[str] = set()
        for path in paths:
            if dirname(path) in ignored or ours.ignores(path, directory=Path(root, path).is_dir()):
                ignored.add(path)
        return gits, ignored

    return both


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(outer=RULES, inner=RULES, innermost=RULES)
@example(outer="*\n!*/\n!a", inner="", innermost="")
@example(outer="d/\n!d/a", inner="!*", innermost="")
@example(outer="\ufeffa\r\nb.o\r\n", inner="", innermost="")
@example(outer="*.o\n!d/", inner="", innermost="")
@example(outer="a", inner="!a", innermost="a\n!a")
@example(outer="[e-a] *\nab", inner="", innermost="")
@example(outer="", inner="", innermost="[!a]/*")
@example(outer="caf\udce9", inner="", innermost="")
@example(outer="**/**", inner="", innermost="")
@example(outer="a\\ \na ", inner="a\t", innermost="")
def test_gitignore_is_gits(ask: Ask, outer: str, inner: str, innermost: str) -> None:
    gits, ours = ask({"": outer, "d": inner, "d/e": innermost})
    assert ours == gits


def test_outside_a_repository_a_pattern_of_stars_only_ignores_nothing() -> None:
    rules = Gitignore(repository=False)
    rules.add("", b"**/**\n*.tmp\n")
    assert not rules.ignores("a", directory=False)
    assert rules.ignores("a.tmp", directory=False)
