"""A report as one HTML page: no script, nothing from the network, readable in print."""

from pathlib import Path

from validation.model import Status
from validation.report import Report

TEMPLATE = Path(__file__).with_suffix(".html")

#: The first sections are those that need attention.
ORDER = (Status.FAIL, Status.NOT_EXAMINED, Status.PASS, Status.SKIP)
NAMES = {status: str(status).replace("_", " ") for status in Status}


def html(report: Report) -> str:
    """Return the report as a page."""
    import jinja2

    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    results = sorted(report.results, key=lambda r: (not r.blocks, ORDER.index(r.status)))
    return page.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        report=report, results=results, names=NAMES
    )
