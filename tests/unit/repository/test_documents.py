"""What the documents name exists: paths, modules, names in them, links, commands and flags."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.cli import program
from ci.cli.signatures import from_module
from ci.main import Acso
from tests.unit.repository.conftest import ROOT, documents

#: Files and folders at the root, which a path in a document begins with.
TOP = {path.name for path in ROOT.iterdir()} - {".venv"}
CODE = re.compile(r"```.*?\n(.*?)```|`([^`]+)`", re.DOTALL)
PATH = re.compile(r"(?<![\w./<-])((?:\./)?[\w.-]+(?:/[\w.*-]+)*/?)(?![\w<{-])")
DOTTED = re.compile(r"(?<![\w/-])((?:ci|validation)(?:\.\w+)+)")
LINK = re.compile(r"\]\((?!https?://)([^)#\s]+)(#[^)]*)?\)")
COMMAND = re.compile(r"(?<![\w/.])(?:\./)?acso ((?:--[\w-]+ (?!-)\S+ )*)([a-z][a-z-]*)")
DAGGER = re.compile(r"dagger call (?:--[\w-]+ \S+\s+)*([a-z][a-z-]*)")


def code(document: Path) -> Iterator[str]:
    for block, inline in CODE.findall(document.read_text()):
        yield block or inline


def tracked(pattern: str) -> Iterator[Path]:
    for folder in ("agents", "ci", "validation", "tests"):
        yield from (ROOT / folder).rglob(pattern)
    yield from ROOT.glob(pattern)


def lines(document: Path) -> Iterator[str]:
    for text in code(document):
        yield from (line.partition(" # ")[0].strip() for line in text.splitlines())


@pytest.fixture(params=documents(), ids=lambda path: str(path.relative_to(ROOT)))
def document(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    return program.make_parser(from_module())


@pytest.fixture(scope="module")
def commands(parser: argparse.ArgumentParser) -> set[str]:
    (action,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return set(action.choices)


def test_there_are_documents_to_look_at() -> None:
    names = {path.name for path in documents()}
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "engine.md"} <= names


def test_every_path_exists(document: Path) -> None:
    missing = set()
    for text in code(document):
        for name in PATH.findall(text):
            path = name.removeprefix("./")
            first, slash, _ = path.partition("/")
            named = first in TOP and (slash or "." in path)
            if named and not any(ROOT.glob(path.rstrip("/"))):
                missing.add(path)
    assert missing == set()


def test_every_module_and_every_name_in_one_exists(document: Path) -> None:
    for text in code(document):
        for dotted in DOTTED.findall(text):
            parts = dotted.split(".")
            folder = ROOT
            while parts and (folder / parts[0]).is_dir():
                folder = folder / parts.pop(0)
            file = folder / "__init__.py"
            if parts and (folder / f"{parts[0]}.py").exists():
                file = folder / f"{parts.pop(0)}.py"
            source = file.read_text()
            assert all(re.search(rf"\b{name}\b", source) for name in parts), dotted


def test_every_name_in_a_recipe_exists() -> None:
    recipes = (ROOT / "CONTRIBUTING.md").read_text().partition("## Recipes")[2]
    spans = [span for span in re.findall(r"`([^`]+)`", recipes) if "/" not in span]
    names = {
        name for span in spans for name in re.findall(r"(?<![\w<-])[A-Za-z_]{4,}\b(?!>)", span)
    }
    files = [path for kind in ("*.py", "*.toml") for path in tracked(kind)]
    text = "\n".join(path.read_text() for path in files)
    assert {name for name in names if not re.search(rf"\b{name}\b", text)} == set()
    assert {"CheckContext", "STRATEGIES", "source_check", "answers", "TaskType"} <= names


def test_every_link_leads_to_a_file_and_heading(document: Path) -> None:
    for target, anchor in LINK.findall(document.read_text()):
        path = document.parent / target
        assert path.exists(), target
        headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE) if anchor else []
        slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor[1:] in slugs, target + anchor


def test_every_command_exists(document: Path, commands: set[str]) -> None:
    named = {command for text in code(document) for _, command in COMMAND.findall(text)}
    assert named <= commands
    functions = {function.command for function in from_module().functions}
    called = {name for text in code(document) for name in DAGGER.findall(text)}
    assert called <= functions


def test_the_readme_shows_every_command_but_parts_of_others(
    readme: str, commands: set[str]
) -> None:
    functions = Acso.__dagger_module__.get_object("Acso").functions  # type: ignore[attr-defined]
    gates = {name for name, function in functions.items() if function.check}
    shown = {command for _, command in COMMAND.findall(readme)}
    assert commands - gates - {"build", "ci", "publish", "up"} <= shown


def test_ci_runs_the_test_command_of_the_readme(readme: str) -> None:
    two = re.findall(r"^\./acso .*?(?=\s+#)", readme, re.MULTILINE)[:2]
    assert two == ["./acso deploy --env development", "./acso selftest"]
    (run,) = re.findall(r"^exec (.*)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert run == two[1]


# --- ARCHITECTURE.md ----------------------------------------------------------------------------
def layout() -> dict[str, str]:
    """Return the paths of the layout, with what is said of each."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    block = text.partition("## Layout")[2].partition("```\n")[2].partition("```")[0]
    found, above = {}, [""]
    for line in block.splitlines():
        name, _, says = line.strip().partition(" ")
        depth = (len(line) - len(line.lstrip())) // 2
        above = [*above[: depth + 1], name]
        found["".join(above)] = says.strip()
    return found


def test_the_layout_is_the_tree() -> None:
    missing = [path for path in layout() if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("folder", ["ci", "ci/engine", "ci/release"])
def test_the_layout_has_every_folder(folder: str) -> None:
    there = {f"{path.relative_to(ROOT)}/" for path in (ROOT / folder).iterdir() if path.is_dir()}
    assert {path for path in there if "__pycache__" not in path} <= set(layout())


def test_the_layout_says_what_each_path_is() -> None:
    assert [path for path, says in layout().items() if not says and path != "ci/"] == []


# --- decisions and versions ---------------------------------------------------------------------
def test_every_decision_is_listed_and_has_its_parts() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = sorted(path for path in folder.iterdir() if path.name != "README.md")
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\) \| (.*) \|", (folder / "README.md").read_text())
    titles = [page.read_text().partition("\n")[0].partition(": ")[2] for page in pages]
    assert listed == list(zip([page.name for page in pages], titles, strict=True))
    assert [page.name[:4] for page in pages] == [f"{n:04}" for n in range(1, len(pages) + 1)]
    parts = ["Context", "Decision", "Consequences", "What would change it"]
    for page in pages:
        assert re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE) == parts, page.name


def test_the_newest_version_of_the_changelog_is_that_of_the_project() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    project = (ROOT / "pyproject.toml").read_text()
    (version,) = re.findall(r'^version = "(\d+\.\d+\.\d+)"$', project, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", item) for item in headings[1:])
    assert [item.split()[0] for item in headings[1:2]] in ([], [version])


def test_no_document_names_a_package_registry_or_a_path_of_a_machine(document: Path) -> None:
    text = document.read_text()
    assert not re.search(r"pypi\.|pythonhosted|docker\.io/|ghcr\.|gcr\.|mcr\.|/home/|/Users/", text)
