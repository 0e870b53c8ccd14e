"""The document of the settings has all of them, as the types do."""

import dataclasses
import re
import tomllib
from pathlib import Path

from ci.config import load, reference
from ci.config.environments import LoadBalancer

ROOT = Path(__file__).parents[3]


def test_the_document_has_the_table_of_the_types() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert reference.document(text) == text, (
        "write it: python -m ci.config.reference docs/configuration.md"
    )


def test_every_setting_has_a_meaning_and_a_known_effect() -> None:
    found = reference.settings()
    assert len(found) > 60
    for item in found:
        assert item.about.meaning, item.name
        assert item.about.effect in reference.EFFECTS
    times = [item for item in found if re.search("timeout|grace|interval|time$", item.name)]
    assert {item.about.unit for item in times} == {"seconds"}


def test_every_setting_of_the_repository_s_file_is_in_the_table() -> None:
    names = {item.name for item in reference.settings()}
    data = tomllib.loads((ROOT / "acso.toml").read_text(encoding="utf-8"))
    tables = [data["project"], *data["defaults"].values()]
    tables += [*data["agents"].values(), *data["environments"].values()]
    used = {name for table in tables for name in table}
    assert used
    assert used <= names
    assert load(ROOT / "acso.toml").agents


def test_nested_tables_have_their_own_part() -> None:
    tables = {item.table for item in reference.settings()}
    assert {"environments.ENV.load_balancer", "environments.ENV.agents.AGENT.scaling"} <= tables
    of = [i.name for i in reference.settings() if i.table == "environments.ENV.load_balancer"]
    assert of == [field.name for field in dataclasses.fields(LoadBalancer)]
