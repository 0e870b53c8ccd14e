"""How a command ends: stdout, stderr and exit code for each kind of result and error."""

import errno
import json
import signal
from pathlib import Path
from typing import TextIO

import pytest

from ci import errors
from ci.report import streams
from ci.report.output import Report
from ci.report.result import RenderedResult
from ci.report.streams import ReaderGoneError


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
    out = capsys.readouterr().out
    assert json.loads(out)["result"] == {"changed": True} if json_ else out == "2 changes\n"


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


def test_the_traceback_of_a_defect_is_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "state" / "defect.txt"
    report = Report(command="plan", json=False, defects=file)
    assert report.run(raising(ZeroDivisionError("oops"))) == 1  # type: ignore[arg-type]
    assert capsys.readouterr().err.splitlines() == [
        "error: ZeroDivisionError: oops",
        f"  next: this is a defect: please report it with the traceback in {file}",
    ]
    assert "ZeroDivisionError: oops" in file.read_text()


def test_a_file_that_cannot_be_used_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "/var/cache/acso/x")
    assert of(raising(error)) == errors.HostError.exit_code
    assert capsys.readouterr().err.splitlines() == [
        "error: /var/cache/acso/x: No space left on device",
        "  next: free some space",
    ]


def test_wrong_usage_without_a_hint_leads_to_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert of(raising(errors.UsageError("unknown agent"))) == 2
    assert capsys.readouterr().err.endswith("  next: ./acso plan --help\n")


def test_control_characters_and_markup_of_a_message_are_shown_as_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    of(raising(errors.HostError("\x1b[31mred :smile: a\\[/b]")))
    assert capsys.readouterr().err == "error: [31mred :smile: a\\[/b]\n"


@pytest.mark.parametrize("json_", [False, True])
def test_a_reader_that_has_gone_is_no_failure(
    capsys: pytest.CaptureFixture[str], *, json_: bool
) -> None:
    assert of(raising(ReaderGoneError()), json_=json_) == 0
    assert capsys.readouterr() == ("", "")


def test_json_lines_end_without_a_document_but_an_error_is_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def report() -> Report:
        return Report(command="logs", json=True, streaming="lines")

    assert report().run(lambda: 0) == 0
    assert capsys.readouterr().out == ""
    assert report().run(raising(errors.AwsError("no"))) == 20  # type: ignore[arg-type]
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["error"]["kind"] == "AwsError"


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


def test_results_and_errors_fit_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = "  agents  every agent answers with the version that was deployed to staging"
    of(lambda: RenderedResult(text, document="{}"))
    of(lambda: "code of a shell " + "x" * 60)  # no result for people: as it is
    error = errors.LockedError(
        "staging is locked by ann@host (deploy since 12:00), and its holder is alive",
        hint="wait for it: ./acso deploy --env staging --wait SECONDS; or --force",
    )
    of(raising(error))
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "  agents  every agent answers with the version that was",
        "    deployed to staging",
        "code of a shell " + "x" * 60,
    ]
    assert err.splitlines() == [
        "error: staging is locked by ann@host (deploy since 12:00),",
        "  and its holder is alive",
        "  next: wait for it:",
        "    ./acso deploy --env staging --wait SECONDS; or --force",
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_ctrl_c_while_the_end_is_printed_prints_no_second_document(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    write = streams.write

    def interrupted(text: str, out: TextIO | None = None) -> None:
        write(text, out)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(streams, "write", interrupted)
    before = signal.getsignal(signal.SIGINT)
    run = raising(errors.LockedError("held")) if fails else lambda: '{"done": true}'
    assert of(run, json_=True) == (23 if fails else 0)
    document = json.loads(capsys.readouterr().out)
    assert ("error" in document) is fails
    assert signal.getsignal(signal.SIGINT) is before
