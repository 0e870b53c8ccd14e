import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.engine.errors import EngineError
from ci.engine.healthcheck import Healthcheck, duration, nanoseconds

SECOND = 10**9


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0s", 0),
        ("30s", 30 * SECOND),
        ("1m30s", 90 * SECOND),
        ("1h0m0s", 3600 * SECOND),
        ("1.5s", 3 * SECOND // 2),
        ("250ms", SECOND // 4),
        ("7ns", 7),
    ],
)
def test_durations_are_written_as_go_writes_them(text: str, value: int) -> None:
    assert nanoseconds(text) == value
    assert duration(value) == text


@given(st.integers(0, 10**15).map(lambda ms: ms * 1000))
def test_a_duration_survives_the_way_through_its_text(value: int) -> None:
    assert nanoseconds(duration(value)) == value


@pytest.mark.parametrize("text", ["", "30", "s", "1s x", "-1s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match="is not a duration"):
        nanoseconds(text)


def test_a_healthcheck_survives_the_way_through_an_image() -> None:
    asked = Healthcheck.from_args({"args": ["curl localhost"], "shell": True, "interval": "5s"})
    assert asked.to_config() == {"Test": ["CMD-SHELL", "curl localhost"], "Interval": 5 * SECOND}
    assert Healthcheck.from_config(asked.to_config()) == asked
    plain = Healthcheck.from_args({"args": ["a", "b"], "retries": 3, "startPeriod": "1m"})
    assert Healthcheck.from_config(plain.to_config()) == plain
    assert plain.to_api()["startPeriod"] == "1m0s"


def test_an_image_without_a_check_has_none() -> None:
    assert Healthcheck.from_config(None) is None
    assert Healthcheck.from_config({"Test": ["NONE"]}) is None
    assert Healthcheck.from_config({}) is None


def test_the_shell_takes_one_string() -> None:
    with pytest.raises(EngineError, match="one string"):
        Healthcheck.from_args({"args": ["a", "b"], "shell": True})
