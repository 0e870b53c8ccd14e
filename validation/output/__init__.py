"""A report in every form: JSON, JUnit, SARIF, OCSF and HTML, by the name of its file."""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from validation.output.page import html
from validation.output.security import ocsf, sarif
from validation.output.tests import junit
from validation.report import Report


def as_json(report: Report) -> str:
    """Return the report as JSON (docs/validation-results.schema.json)."""
    return json.dumps(report.data(), indent=2) + "\n"


#: Returns a report as text, by the name of the file that it is written to.
FORMATS: Mapping[str, Callable[[Report], str]] = MappingProxyType(
    {
        "results.json": as_json,
        "junit.xml": junit,
        "results.sarif": sarif,
        "findings.ocsf.json": ocsf,
        "index.html": html,
    }
)


def write(path: Path, text: str) -> None:
    """Write a file atomically: it is there complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        file.write(text)
    Path(file.name).replace(path)
