"""The checklist of docs/aws.md holds together."""

import re

import pytest

from ci.config import parse
from ci.errors import ConfigError
from tests.unit.repository.checklist import DOCUMENT, STEP, blocks, edited, section
from tests.unit.repository.conftest import ROOT

PROGRAMS = {"./acso", "aws", "git"}
#: What is edited: the repository's own file may have the checklist's settings already.
OWN = ROOT / "tests" / "acso.toml"


def test_the_steps_are_numbered_without_a_gap() -> None:
    numbers = [int(match[1]) for match in STEP.finditer(section())]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 10


def test_the_edits_together_are_a_right_acso_toml() -> None:
    text = OWN.read_text()
    for block in blocks():
        if block.kind == "toml":
            text = edited(text, block.text)
    config = parse(text)
    staging, production = config.environment("staging"), config.environment("production")
    assert (staging.encrypted, production.encrypted) == (True, True)
    assert staging.account != production.account
    assert config.agent("threat-hunter").secrets


def test_every_command_exists_and_what_differs_on_the_embedded_aws_is_listed() -> None:
    lines = [line for block in blocks() if block.kind == "sh" for line in block.lines]
    assert {line.split()[0] for line in lines} == PROGRAMS
    verbs = {line.split()[1] for line in lines if line.startswith("./acso ")}
    assert {"doctor", "bootstrap", "deploy", "verify", "promote", "plan"} <= verbs
    listed = DOCUMENT.read_text().partition("### The checklist on the embedded AWS")[2]
    listed = listed.partition("\n## ")[0]
    for replaced in ("./acso COMMAND", "aws SERVICE OPERATION", "git push"):
        assert f"| `{replaced}` |" in listed
    marked = re.findall(r"\(account[):]", section())
    assert len(marked) >= 5


def test_an_edit_of_a_table_that_is_not_there_is_no_edit() -> None:
    text = OWN.read_text()
    changed = edited(text, '[environments.staging]\naccount = "1"\n')
    assert changed.count('account = "1"') == 1
    with pytest.raises(ConfigError, match=r"environments\.staging\.account"):
        parse(changed)
    with pytest.raises(AssertionError, match=r"acso\.toml has no"):
        edited(text, '[environments.elsewhere]\naccount = "1"\n')
