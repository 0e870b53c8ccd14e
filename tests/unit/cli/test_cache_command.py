"""`acso cache`: how its arguments are read and its output looks."""

import json

import pytest

from ci.cli import machine
from ci.cli.program import make_parser
from ci.cli.signatures import from_module
from ci.engine.prune import PruneResult
from ci.engine.usage import Usage
from tests.unit.json_documents import result


def test_sizes_and_ages_are_written_with_units() -> None:
    parser = make_parser(from_module())
    given = parser.parse_args(["cache", "--older-than", "7d", "--keep", "5GB"])
    assert (given.older_than, given.keep, given.all) == (7 * 86400, 5 * 10**9, False)
    assert parser.parse_args(["cache"]).keep is None


def test_the_cache_is_listed_by_kind_with_a_total() -> None:
    found = Usage(
        results=(3, 100), contents=(20, 1900), images=(2, 10**6), volumes=(0, 0), sessions=1
    )
    lines = [line.split() for line in machine.render_usage(found, as_json=False).splitlines()]
    assert lines == [
        ["results", "3", "100", "B"],
        ["contents", "20", "1.9", "kB"],
        ["images", "2", "1.0", "MB"],
        ["volumes", "0", "0", "B"],
        ["total", "1.0", "MB"],
        ["sessions", "1"],
    ]
    document = json.loads(machine.render_usage(found, as_json=True))
    result("usage").validate(document)
    assert document["images"] == [2, 10**6]


@pytest.mark.parametrize("as_json", [True, False])
def test_removed_results_are_counted_by_kind(*, as_json: bool) -> None:
    gone = PruneResult(results=4, contents=3, images=2, volumes=1, size=1500)
    text = machine.render_pruned(gone, as_json=as_json)
    if as_json:
        result("pruned").validate(json.loads(text))
        assert json.loads(text) == vars(gone)
    else:
        assert text == "removed 4 results, 3 contents, 2 images, 1 volumes: 1.5 kB"
