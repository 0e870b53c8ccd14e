"""Cost records as CSV or JSON, with the columns of AWS Cost and Usage Reports; pure.

Source of the columns: AWS Data Exports User Guide, Cost and Usage Report (legacy) and CUR 2.0.
"""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

MAX_PROBLEMS = 20
#: Each column's names: of the legacy report, of CUR 2.0, and a plain one.
_DAY = ("lineItem/UsageStartDate", "line_item_usage_start_date", "date")
_COST = ("lineItem/UnblendedCost", "line_item_unblended_cost", "cost")
_SERVICE = ("lineItem/ProductCode", "line_item_product_code", "service")
_ACCOUNT = ("lineItem/UsageAccountId", "line_item_usage_account_id", "account")
_CURRENCY = ("lineItem/CurrencyCode", "line_item_currency_code", "currency")


class RecordsError(Exception):
    """The records as a whole cannot be read."""


@dataclass(frozen=True, kw_only=True, order=True)
class Cell:
    """What one service cost one account in one month."""

    month: str
    account: str
    service: str
    currency: str


@dataclass(frozen=True, kw_only=True)
class Records:
    """The sums of all records by day, and the records that are invalid."""

    rows: int
    cells: Mapping[Cell, Mapping[str, Decimal]]
    invalid: int
    problems: tuple[str, ...]


def read(text: str, *, is_csv: bool) -> Records:
    """Return the sums of records; raises `RecordsError` if it is no list of records."""
    return summed(_csv(text) if is_csv else _json(text))


def summed(rows: Iterable[Any]) -> Records:
    """Return the sums of records; a record that is not valid does not count."""
    cells: dict[Cell, dict[str, Decimal]] = {}
    problems: list[str] = []
    count = invalid = 0
    for count, row in enumerate(rows, 1):
        try:
            day, cell, cost = _record(row)
        except (ValueError, InvalidOperation) as error:
            invalid += 1
            if len(problems) < MAX_PROBLEMS:
                problems.append(f"record {count}: {_reason(error)}"[:200])
            continue
        days = cells.setdefault(cell, {})
        days[day] = days.get(day, Decimal()) + cost
    return Records(rows=count, cells=cells, invalid=invalid, problems=tuple(problems))


def _reason(error: Exception) -> str:
    return "the cost is not a number" if isinstance(error, InvalidOperation) else str(error)


def _record(row: Any) -> tuple[str, Cell, Decimal]:
    if not isinstance(row, Mapping):
        raise ValueError("not an object")  # noqa: TRY004 - the record is wrong, not the caller
    day = _date(_value(row, _DAY))
    cost = Decimal(_value(row, _COST))
    if not cost.is_finite() or abs(cost) > 10**12:
        raise ValueError("the cost is not an amount")
    cell = Cell(
        month=day[:7],
        account=_value(row, _ACCOUNT, "unknown"),
        service=_value(row, _SERVICE),
        currency=_value(row, _CURRENCY, "USD"),
    )
    return day, cell, cost


def _value(row: Mapping[str, Any], names: tuple[str, ...], otherwise: str = "") -> str:
    for name in names:
        value = row.get(name)
        if value not in (None, ""):
            text = str(value).strip()
            if len(text) > 128:
                message = f"{name} is too long"
                raise ValueError(message)
            return text
    if otherwise:
        return otherwise
    message = f"no {names[-1]}: the columns are {', '.join(names)}"
    raise ValueError(message)


def _date(text: str) -> str:
    # Hours of a day count for the day in UTC, as they do in the bill.
    if len(text) == 10:
        return date.fromisoformat(text).isoformat()
    time = datetime.fromisoformat(text)
    return (time.astimezone(UTC) if time.tzinfo else time).date().isoformat()


def _csv(text: str) -> Iterable[Any]:
    reader = csv.DictReader(text.splitlines())
    if not reader.fieldnames:
        raise RecordsError("there is no line with the names of columns")
    for needed in (_DAY, _COST, _SERVICE):
        if not set(needed) & set(reader.fieldnames):
            message = f"no column {needed[-1]}: its names are {', '.join(needed)}"
            raise RecordsError(message)
    return reader


def _json(text: str) -> Iterable[Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"not JSON: {error}"
        raise RecordsError(message) from error
    rows = document.get("records") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise RecordsError("a list of records is required")
    return rows
