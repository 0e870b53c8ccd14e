"""How a command ends: stdout, stderr and exit code for each kind of result and error."""

import json

import pytest

from ci import errors
from ci.report.output import Report
from ci.report.result import RenderedResult


def of(run: object, *, json_: bool = False) -> int:
    return Report(command="plan", json=json_).run(run)  # type: ignore[arg-type]


def raising(error: BaseException) -> object:
    def run() -> str:
        raise error

    return run


def test_a_result_goes_to_stdout_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert of(lambda: "5 services unchanged") == 0
    assert capsys.readouterr() == ("5 services unchanged\n", "")


def test_a_number_is_the_exit_code() -> None:
    assert of(lambda: 4) == 4


@pytest.mark.parametrize("json_", [False, True])
def test_a_result_may_carry_the_exit_code(
    capsys: pytest.CaptureFixture[str], *, json_: bool
) -> None:
    result = RenderedResult("2 changes", document='{"changed": true}', exit_code=2)
    assert of(lambda: result, json_=json_) == 2
    assert "2 changes" in capsys.readouterr().out


def test_an_error_is_printed_as_message_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    error = errors.HostError("no container engine [docker]", hint="apt-get install docker.io")
    assert of(raising(error)) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: no container engine [docker]\n  next: apt-get install docker.io\n"


def test_an_error_is_found_inside_nested_task_groups() -> None:
    inner = errors.LockedError("held")
    group = BaseExceptionGroup("", [ValueError("x"), BaseExceptionGroup("", [inner])])
    assert of(raising(group)) == 23


def test_ctrl_c_is_130() -> None:
    assert of(raising(KeyboardInterrupt())) == 130


def test_a_defect_shows_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert of(raising(ZeroDivisionError("oops"))) == 1
    assert "Traceback" in capsys.readouterr().err


def test_json_holds_result_and_stages(capsys: pytest.CaptureFixture[str]) -> None:
    assert of(lambda: '{"changes": []}', json_=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["result"] == {"changes": []}
    assert document["command"] == "plan"
    assert document["stages"] == []


def test_json_holds_an_error_with_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert of(raising(errors.ConfigError("acso.toml: x", hint="y")), json_=True) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert error == {"kind": "ConfigError", "message": "acso.toml: x", "hint": "y", "exit_code": 3}


def test_every_error_a_user_can_meet_has_an_exit_code_of_its_own() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.AcsoError)
    ]
    codes = [kind.exit_code for kind in kinds]
    assert len(set(codes)) == len(codes) > 10
