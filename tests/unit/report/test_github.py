"""GitHub Actions: a command's output in a job's log, annotations and summary."""

import json
import re
from pathlib import Path

import pytest

from ci import errors
from ci.report import github
from ci.report.output import Report
from ci.report.progress import Lines, Span, listen, stage

MESSAGE = "agent x does not stay up: 100%\n  exit code 1\n    | ::add-mask::everything\n    | boom"


def unescaped(text: str) -> str:
    return text.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A job of GitHub Actions; returns the file of its summary."""
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    return summary


def run(result: str | int | Exception, *, json_: bool = False) -> int:
    def command() -> str | int:
        if isinstance(result, Exception):
            raise result
        return result

    return Report(command="deploy", json=json_).run(command)


def test_an_annotation_is_one_line_whatever_is_in_it() -> None:
    written = github.error("acso: a, b", "50% of\r\nit")
    assert written == "::error title=acso%3A a%2C b::50%25 of%0D%0Ait"


def test_a_long_annotation_is_cut() -> None:
    assert len(github.error("t", "x" * 10_000)) < 4100


def test_workflow_commands_inside_a_group_are_disabled() -> None:
    lines = github.group("title", "::add-mask::everything").splitlines()
    stop = re.fullmatch(r"::stop-commands::(\w{32})", lines[1])
    assert stop
    assert lines[2:] == ["::add-mask::everything", f"::{stop[1]}::", "::endgroup::"]
    assert github.group("title", "x").splitlines()[1] != lines[1]  # the token cannot be guessed


@pytest.mark.usefixtures("job")
def test_an_error_with_details_is_a_group_and_an_annotation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(errors.ReleaseFailedError(MESSAGE, hint="acso status")) == 40
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "::group::agent x does not stay up: 100%25"
    assert lines[2:5] == MESSAGE.splitlines()[1:]
    annotation = lines[-1].removeprefix("::error title=acso deploy::")
    assert unescaped(annotation) == f"{MESSAGE}\nnext: acso status"


@pytest.mark.usefixtures("job")
def test_an_error_of_one_line_is_only_an_annotation(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(errors.HostError("wrong")) == 4
    assert capsys.readouterr().err == "::error title=acso deploy::wrong\n"


@pytest.mark.usefixtures("job")
def test_annotations_do_not_mix_with_json_output(capsys: pytest.CaptureFixture[str]) -> None:
    run(errors.UsageError("wrong"), json_=True)
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "wrong"


def test_a_summary_is_written_for_success_and_for_failure(job: Path) -> None:
    run("release 1 is live")
    run(errors.ReleaseFailedError(MESSAGE))
    text = job.read_text()
    assert "### acso deploy: done\n\n```text\nrelease 1 is live\n```\n" in text
    assert f"### acso deploy: exit code 40\n\n```text\n{MESSAGE}\n```\n" in text


async def test_a_summary_lists_the_stages() -> None:
    spans: list[Span] = []

    class Kept(Lines):
        def ended(self, span: Span) -> None:
            spans.append(span)

    with listen(Kept()):
        async with stage("build") as span:
            span.result = "5 images | <b>new</b>"
        with pytest.raises(RuntimeError):
            async with stage("release"):
                raise RuntimeError
    text = github.summary("deploy", spans, 40, "")
    assert r"| ✅ | build | 0.0 | 5 images \| \<b\>new\</b\> |" in text
    assert "| ❌ | release | 0.0 |  |" in text


def test_text_cannot_end_its_code_block() -> None:
    text = github.summary("deploy", [], 0, "````\n# heading\n````")
    assert "\n`````text\n````\n# heading\n````\n`````\n" in text


def test_a_summary_that_cannot_be_written_is_only_a_warning(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.mkdir()
    assert run("done") == 0
    assert "::warning title=acso::the summary cannot be written" in capsys.readouterr().err


def test_outside_of_a_job_no_workflow_commands_are_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    run(errors.UsageError("wrong"))
    assert list(tmp_path.iterdir()) == []
    assert "::" not in capsys.readouterr().err
