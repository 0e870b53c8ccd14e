"""The fast tests, in parts that run in parallel: an edit reruns the parts that read it alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from ci.config import Agent

#: What of the repository tests of the pipeline read.
_PIPELINE = (
    ".devcontainer",
    ".editorconfig",
    ".github",
    ".pre-commit-config.yaml",
    "README.md",
    "acso",
    "acso.toml",
    "ci",
    "dagger.json",
    "docs",
    "locks",
    "pyproject.toml",
    "scripts",
    "tests/acso.toml",
    "tests/conftest.py",
    "tests/unit",
    "validation",
    "!tests/unit/agents",
    "!tests/unit/repository",
)
#: What tests of agents read.
_AGENTS = (
    "acso.toml",
    "agents/*.py",
    "agents/common",
    "pyproject.toml",
    "tests/unit/agents/*.py",
    "tests/unit/conftest.py",
    "tests/unit/coveragerc",
)
#: Releases whose process is killed at any call, and other bad days: slow if coverage is measured.
_FAULTS = tuple(
    f"tests/unit/release/{name}" for name in ("badday", "test_invariant.py", "test_killed.py")
)
_INTEGRATION = "tests/unit/validation/test_integration.py"


@dataclass(frozen=True, kw_only=True)
class TestPart:
    """Some tests: what they read (patterns), what of it runs, whose coverage is measured."""

    reads: tuple[str, ...]
    runs: tuple[str, ...]
    measured: tuple[str, ...] = ()


def of_agents(agents: Sequence[Agent]) -> dict[str, TestPart]:
    """Return the parts about what agents do: of each agent alone, and of what they share.

    Args:
        agents: those with tests in `tests/unit/agents/PACKAGE`.
    """
    shared = TestPart(
        # Two agents are examples in them.
        reads=(*_AGENTS, "agents/supervisor", "agents/threat_hunter", "tests/unit/agents/common"),
        runs=("tests/unit/agents/common",),
        measured=("agents.common",),
    )
    return {"agents": shared} | {
        f"agent {agent.name}": TestPart(
            reads=(*_AGENTS, f"agents/{agent.package}", f"tests/unit/agents/{agent.package}"),
            runs=(f"tests/unit/agents/{agent.package}",),
            measured=(f"agents.{agent.package}",),
        )
        for agent in agents
    }


def of_pipeline() -> dict[str, TestPart]:
    """Return the parts about the pipeline, the agents together, and the repository as a whole."""
    ignored = ("tests/unit/release", "tests/unit/engine", _INTEGRATION)
    return {
        "pipeline": TestPart(
            reads=_PIPELINE,
            runs=("tests/unit", *(f"--ignore={path}" for path in ignored)),
            measured=(
                *("ci.aws", "ci.chaos", "ci.cli", "ci.common", "ci.config", "ci.errors"),
                *("ci.infra", "ci.pipeline", "ci.report", "ci.stages", "validation"),
            ),
        ),
        "release": TestPart(
            reads=_PIPELINE,
            runs=("tests/unit/release", *(f"--ignore={path}" for path in _FAULTS)),
            measured=("ci.release",),
        ),
        "faults": TestPart(reads=_PIPELINE, runs=_FAULTS),
        "engine": TestPart(reads=_PIPELINE, runs=("tests/unit/engine",)),
        "agents together": TestPart(
            reads=(*_AGENTS, "agents", "tests/unit/agents/together"),
            runs=("tests/unit/agents/together",),
        ),
        # The validation's own work with the agents, in one process.
        "integration": TestPart(
            reads=(
                *("acso.toml", "agents", "ci", "pyproject.toml", "tests/acso.toml"),
                *("tests/unit/agents/house.py", "tests/unit/conftest.py", "tests/unit/release"),
                *("docs/*.schema.json", "tests/unit/json_documents.py"),
                *("tests/unit/validation", "validation"),
            ),
            runs=(_INTEGRATION,),
        ),
        # These compare the documents with all files, because any of them may be named.
        "repository": TestPart(reads=("**",), runs=("tests/unit/repository",)),
    }
