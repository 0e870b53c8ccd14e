"""`python -m validation`: its exit codes, and what it says of wrong usage."""

import json
from pathlib import Path
from typing import Any

import pytest

import validation.__main__ as program
from tests.unit.validation.conftest import report
from validation import Report, Status
from validation.output import FORMATS


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the tests' configuration: in the repository's own, staging may have an account."""
    monkeypatch.setattr(program, "FILE", program.FILE.parent / "tests" / program.FILE.name)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let suites end with these results."""

    def use(*statuses: Status) -> None:
        async def run(*_: object, **__: object) -> Report:
            return report(*statuses)

        async def known(_: object, env: object) -> object:
            return env

        monkeypatch.setattr(program, "run", run)
        monkeypatch.setattr(program, "check_account", known)

    return use


@pytest.mark.parametrize(
    ("status", "code"), [(Status.PASS, 0), (Status.FAIL, 1), (Status.NOT_EXAMINED, 3)]
)
def test_the_exit_code_is_the_verdict_and_every_form_is_written(
    ends: Any, tmp_path: Path, status: Status, code: int
) -> None:
    ends(status, Status.PASS)
    told = ["smoke", "--environment", "staging", "--output", str(tmp_path / "own.json")]
    assert program.main([*told, "--reports", str(tmp_path / "all")], {}) == code
    assert json.loads((tmp_path / "own.json").read_text())["ok"] is (code == 0)
    assert {path.name for path in (tmp_path / "all").iterdir()} == set(FORMATS)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["smoke", "--environment", "prodution"], "did you mean 'production'?"),
        (["smok", "--environment", "development", "--aws", "local"], "there is no embedded AWS"),
        (["smoke", "--environment", "staging"], "no account in acso.toml"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    code = program.main(arguments, {})
    assert code == (3 if "--aws" in arguments else 2)
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["smoke"], ["--environment", "x", "--aws", "y"]])
def test_wrong_arguments_are_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(arguments, {})
    assert ended.value.code == 2
