"""The table of supported fields in docs/engine.md.

`python -m ci.engine.api.reference docs/engine.md` writes it between its two marks; a test fails if
it is outdated.
"""

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import graphql
from graphql import GraphQLObjectType

from ci.engine.api import graph  # noqa: F401  # fills the table of fields
from ci.engine.api.sdl import FILE
from ci.engine.fields import DATA_TYPES, FIELDS, FIXED, resolver
from ci.engine.unsupported import REASONS

BEGIN, END = "<!-- begin: made by `python -m ci.engine.api.reference` -->", "<!-- end -->"


@cache
def types() -> dict[str, GraphQLObjectType]:
    """Return every object type of the API."""
    schema = graphql.build_schema(FILE.read_text(encoding="utf-8"), assume_valid=True)
    found = schema.type_map.items()
    return {name: kind for name, kind in found if isinstance(kind, GraphQLObjectType)}


def supported(kind: str, field: str) -> bool:
    """Return whether a field is supported; ids and loading by id are for every type."""
    loads = kind == "Query" and (field == "node" or field.startswith("load"))
    return loads or field == "id" or resolver(kind, field) is not None


def table() -> str:
    """Return the table, in Markdown."""
    known = {name: kind for name, kind in types().items() if not name.startswith("__")}
    # A cache volume has an id only.
    used = {*DATA_TYPES, "CacheVolume", *(key.partition(".")[0] for key in FIELDS)}
    rows = [("type", "supported", "not supported"), ("---",) * 3]
    rows += [_row(name, known[name]) for name in sorted(used)]
    arguments = {f"{field}({name})" for field, names in FIXED.items() for name in names}
    reasons = [("argument or field", "reason"), ("---",) * 2]
    reasons += [(f"`{what}`", REASONS.get(what, "")) for what in sorted({*REASONS, *arguments})]
    others = ", ".join(f"`{name}`" for name in sorted(known.keys() - used))
    end = f"No field of these types is supported: {others}."
    return "\n".join([*map(_line, rows), "", *map(_line, reasons), "", end, ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(name: str, kind: GraphQLObjectType) -> tuple[str, str, str]:
    fields = [f for f in kind.fields if f != "id" and not f.startswith("load")]
    there = [f"`{field}`" for field in fields if supported(name, field)]
    absent = [f"`{field}`" for field in fields if not supported(name, field)]
    return f"`{name}`", ", ".join(there) or "`id`", ", ".join(absent)


def refreshed(text: str) -> str:
    """Return a document with the current table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(refreshed(document.read_text(encoding="utf-8")), encoding="utf-8")
