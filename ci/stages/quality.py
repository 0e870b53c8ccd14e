"""The quality gates. Each returns one line of what it saw and raises on findings.

A tool that finds something ends its container with an exit code: `dagger.ExecError`, with the
tool's own output. Where a tool's exit code says too little, its report is judged here.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import dagger
from dagger import dag

from ci.common.concurrency import parallel
from ci.config import Agent
from ci.errors import StageError
from ci.report.progress import stage
from ci.stages import fast_tests
from ci.stages.base import SOURCE, part, tools
from ci.stages.fast_tests import TestPart
from ci.stages.running import NotExaminedError, failure, run_all, run_gate

#: What to do if the audit could not look and had to.
UNEXAMINED = (
    "run where the package index's advisory service is reachable, or say in acso.toml why not: "
    '[project.unexamined] packages = "REASON"'
)

CODE = ("agents/**/*.py", "ci/**/*.py", "tests/**/*.py", "validation/**/*.py", "pyproject.toml")


async def lint(source: dagger.Directory, image: str) -> str:
    """Check style, formatting and who imports whom."""
    checked = (
        (await tools(image, source, "lint"))
        .with_mounted_directory(SOURCE, part(source, *CODE))
        .with_exec(["ruff", "check", "--no-cache", "."])
        .with_exec(["ruff", "format", "--no-cache", "--check", "."])
        .with_exec(["lint-imports", "--no-cache"])
    )
    return _last_line(await checked.stdout())


async def typecheck(source: dagger.Directory, image: str) -> str:
    """Check types with mypy in strict mode, tests included."""
    checked = (
        (await tools(image, source, "typecheck"))
        .with_mounted_directory(SOURCE, part(source, *CODE))
        .with_mounted_cache("/var/cache/mypy", dag.cache_volume("acso-mypy"))
        .with_exec(["mypy", "--cache-dir", "/var/cache/mypy"])
    )
    return _last_line(await checked.stdout())


async def security(source: dagger.Directory, image: str, *, today: str, required: bool) -> str:
    """Look for insecure code, committed secrets and vulnerable packages, in parallel.

    Args:
        source: the repository.
        image: the base image.
        today: the date; the audit runs again each day, because new advisories appear.
        required: whether it is an error if a gate could not look.
    """
    tool = await _shared_tools(image, source, "security")
    return await _gates(
        {
            "code": partial(insecure_code, tool, source),
            "secrets": partial(committed_secrets, tool, source),
            "packages": partial(vulnerable_packages, tool, source, today=today),
        },
        required=required,
    )


async def tests(source: dagger.Directory, image: str, parts: Mapping[str, TestPart]) -> str:
    """Run parts of the fast tests, each in a container of its own, in parallel."""
    tool = await _shared_tools(image, source, "test")
    return await _gates(
        {f"test {about}": partial(test, tool, source, tested) for about, tested in parts.items()}
    )


async def test_parts(
    source: dagger.Directory, agents: Sequence[Agent], checks: Sequence[str]
) -> dict[str, TestPart]:
    """Return the parts of the tests among these checks; an agent without tests has none."""
    parts = fast_tests.of_pipeline() if "pipeline-tests" in checks else {}
    if "agent-tests" in checks:
        found = await source.glob("tests/unit/agents/*/test_*.py")
        packages = {path.split("/")[3] for path in found}
        parts |= fast_tests.of_agents([agent for agent in agents if agent.package in packages])
    return parts


async def _shared_tools(image: str, source: dagger.Directory, group: str) -> dagger.Container:
    """Return the tools that several gates branch from: described to the engine once."""
    async with stage(f"{group} tools"):
        try:
            return await tools(image, source, group)
        except dagger.ExecError as error:
            raise StageError(failure(f"{group} tools", error)) from error


async def _gates(
    gates: Mapping[str, Callable[[], Awaitable[str]]], *, required: bool = False
) -> str:
    """Run gates in parallel, all of them to their end; return a line of each."""
    runs = {name: partial(run_gate, name, gate, required=required) for name, gate in gates.items()}
    lines = await run_all(runs)
    return "\n".join(lines.values())


async def insecure_code(tool: dagger.Container, source: dagger.Directory) -> str:
    """Look for insecure code with bandit."""
    # Low findings are those that ruff's S rules judge already, line by line.
    command = ["bandit", "--quiet", "--recursive", "--severity-level", "medium"]
    agents = part(source, "agents/**/*.py", "pyproject.toml")
    others = part(source, "ci/**/*.py", "validation/**/*.py", "pyproject.toml")
    runs = (
        _checked(tool, agents, [*command, "agents"]),
        _checked(tool, others, [*command, "ci", "validation"]),
    )
    await parallel(lambda run: run.sync(), runs)
    return "no insecure code"


async def committed_secrets(tool: dagger.Container, source: dagger.Directory) -> str:
    """Look for secrets in the source with detect-secrets; locks hold hashes, not secrets."""
    # A program of its own, because the scan's exit code is 0 whatever it finds.
    # The keyword detector takes every variable named `secret` for one.
    hook = (
        "find . -type f -not -path './locks/*' -print0"
        " | xargs -0 detect-secrets-hook --disable-plugin KeywordDetector"
    )
    apart = ("agents", "tests", "ci")
    parts = [part(source, name) for name in apart]
    parts.append(part(source, "**", *(f"!{name}" for name in apart)))
    hooks = [_checked(tool, each, ["sh", "-c", hook]) for each in parts]
    await parallel(lambda run: run.sync(), hooks)
    return "no secrets"


def _checked(
    tool: dagger.Container, judged: dagger.Directory, command: list[str]
) -> dagger.Container:
    """Return a tool's run on a part of the source: an edit reruns its own part alone."""
    return tool.with_mounted_directory(SOURCE, judged).with_exec(command)


async def vulnerable_packages(
    tool: dagger.Container, source: dagger.Directory, *, today: str
) -> str:
    """Look for packages with known vulnerabilities among those that run: agents and program."""
    report = (
        tool.with_mounted_directory(SOURCE, part(source, "locks/*.lock").directory("locks"))
        .with_env_variable("AUDITED_ON", today)
        .with_exec(
            ["pip-audit", "--disable-pip", "--require-hashes", "--progress-spinner=off"]
            + ["--format=json", "-r", "agents.lock", "-r", "cli.lock"],
            expect=dagger.ReturnType.ANY,
        )
    )
    code, text = await report.exit_code(), await report.stdout()
    if code not in (0, 1) or not text.startswith("{"):
        message = f"pip-audit could not run: {(await report.stderr()).strip()}"
        raise NotExaminedError(message, hint=UNEXAMINED)
    return judge_audit(text)


def judge_audit(report: str) -> str:
    """Return one line on a JSON report of pip-audit.

    pip-audit leaves out packages that its service does not know and ends with 0 all the same.

    Raises:
        StageError: a package has a known vulnerability.
        NotExaminedError: not all were audited, and none of those that were has a vulnerability.
    """
    packages = json.loads(report)["dependencies"]
    found = [
        f"{item['name']} {item['version']}: {flaw['id']}, fixed in "
        f"{', '.join(flaw['fix_versions']) or 'no version yet'}"
        for item in packages
        for flaw in item.get("vulns", [])
    ]
    if found:
        raise StageError("packages with known vulnerabilities:\n" + "\n".join(found))
    unknown = sum("skip_reason" in item for item in packages)
    audited = f"{len(packages) - unknown} of {len(packages)} packages audited"
    if unknown:
        message = f"only {audited}: the advisory service does not know the others"
        raise NotExaminedError(message, hint=UNEXAMINED)
    return audited


async def test(tool: dagger.Container, source: dagger.Directory, tested: TestPart) -> str:
    """Run one part of the fast tests; 80 % of its code that needs no containers must be covered."""
    covered = [f"--cov={package}" for package in tested.measured]
    limits = ["--cov-config=tests/unit/coveragerc", "--cov-fail-under=80"] if covered else []
    run = tool.with_mounted_directory(SOURCE, part(source, *tested.reads)).with_exec(
        ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        + [*tested.runs, *covered, *limits]
    )
    return _last_line(await run.stdout())


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2].strip("= ")
