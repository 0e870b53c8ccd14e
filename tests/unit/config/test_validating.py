"""Suites, thresholds and exceptions of acso.toml."""

from pathlib import Path

import pytest

from ci.config import SUITES, Thresholds, load, parse
from ci.errors import ConfigError
from validation.suites import SUITES as RUN

FILE = Path(__file__).parents[2] / "acso.toml"
TEXT = FILE.read_text()


def with_lines(*lines: str) -> str:
    return TEXT.replace("[environments.staging]", "\n".join(["[environments.staging]", *lines]))


def test_every_environment_has_a_suite_and_thresholds() -> None:
    for env in load(FILE).environments.values():
        assert env.suites
        assert env.thresholds == Thresholds()


def test_suites_that_can_be_run_are_known_to_the_configuration() -> None:
    assert set(RUN) <= set(SUITES)


def test_an_exception_is_a_table_of_its_check() -> None:
    lines = ['[environments.staging.exceptions."network.tls"]', 'accepts = "FAIL"', 'owner = "me"']
    lines += ['reason = "no domain yet"', 'expires = "2027-01-31"']
    (found,) = parse("\n".join([TEXT, *lines])).environment("staging").exceptions.values()
    assert (found.reason, found.last_day.year) == ("no domain yet", 2027)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["suites = []"], "suites: must name a suite"),
        (['suites = ["smok"]'], "suites[0]: unknown suite 'smok', did you mean 'smoke'?"),
        (['suites = ["smoke", "smoke"]'], "suites[1]: 'smoke' is there twice"),
        (["checks = []"], "checks: must name a check"),
        (['checks = ["lnt"]'], "checks[0]: unknown check 'lnt', did you mean 'lint'?"),
        (["thresholds = {cpu = 0}"], "thresholds.cpu: must be 1 or more"),
        (["thresholds = {cpus = 1}"], "thresholds.cpus: unknown key"),
        (["exceptions = {tls = {}}"], "exceptions.tls.accepts: missing value"),
    ],
)
def test_what_cannot_be_is_said(lines: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(with_lines(*lines))
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("accepts", "PASS", "accepts: must be one of FAIL, NOT_EXAMINED"),
        ("owner", " ", "owner: must not be empty"),
        ("reason", "", "reason: must not be empty"),
        ("expires", "2027-02-30", "expires: must be a day in quotes"),
        ("expires", "soon", "expires: must be a day in quotes"),
        ("expires", "20270131", "expires: must be a day in quotes"),
    ],
)
def test_an_exception_says_what_who_why_and_until_when(key: str, value: str, says: str) -> None:
    given = {"accepts": "FAIL", "owner": "me", "reason": "why", "expires": "2027-01-31", key: value}
    table = ", ".join(f'{name} = "{text}"' for name, text in given.items())
    with pytest.raises(ConfigError) as raised:
        parse(with_lines(f'exceptions = {{"network.tls" = {{{table}}}}}'))
    assert says in str(raised.value)
