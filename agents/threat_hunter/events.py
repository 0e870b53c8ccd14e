"""Log events of several shapes, streamed as JSON lines, plain or gzipped."""

import json
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from agents.threat_hunter.logic import Entry

#: Longest line, and largest log once unpacked: a gzipped bomb ends here.
MAX_LINE = 64 * 1024
MAX_BYTES = 128 * 1024 * 1024
MAX_LINES = 1_000_000
#: Invalid lines that are described; the others are counted.
MAX_PROBLEMS = 20
_GZIP = 31  # zlib's window bits for gzip


class LogError(Exception):
    """The log as a whole cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event: what the rules use of it, and an id that a repetition has, too."""

    id: str
    entry: Entry
    fields: Mapping[str, Any]


@dataclass(kw_only=True)
class Problems:
    """Lines that are no event."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, line: int, reason: str) -> None:
        """Count a line."""
        self.count += 1
        if len(self.first) < MAX_PROBLEMS:
            self.first.append(f"line {line}: {reason}")


async def lines(chunks: AsyncIterator[bytes], *, gzipped: bool) -> AsyncIterator[bytes]:
    """Yield the lines of a body; raises `LogError` if it is too large or not gzip."""
    unpack = zlib.decompressobj(_GZIP) if gzipped else None
    rest, total, count = b"", 0, 0
    async for chunk in chunks:
        for part in _unpacked(unpack, chunk):
            total += len(part)
            if total > MAX_BYTES:
                message = f"the log has more than {MAX_BYTES} bytes"
                raise LogError(message)
            *whole, rest = (rest + part).split(b"\n")
            count += len(whole)
            if count > MAX_LINES:
                message = f"the log has more than {MAX_LINES} lines"
                raise LogError(message)
            for line in whole:
                yield line
            if len(rest) > MAX_LINE:
                message = f"a line has more than {MAX_LINE} bytes"
                raise LogError(message)
    if unpack is not None and not unpack.eof:
        raise LogError("the gzip data is incomplete")
    if rest:
        yield rest


def parse(line: bytes) -> Event:
    """Return the event in a line; raises `ValueError` with the reason if there is none."""
    return event(json.loads(line))


def event(document: Any) -> Event:
    """Return an event of any known shape; raises `ValueError` with the reason if it is of none."""
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the line is wrong, not the caller
    for name, read in _SHAPES.items():
        if name in document:
            try:
                entry = read(document)
            except (AttributeError, KeyError, TypeError, OverflowError) as error:
                message = f"{type(error).__name__}: {error}"
                raise ValueError(message) from error
            return Event(id=_id(document), entry=entry, fields=document)
    raise ValueError(f"no shape is known that has none of {', '.join(_SHAPES)}")


def _unpacked(unpack: Any, chunk: bytes) -> Any:
    """Yield what a chunk contains, in parts of bounded size."""
    if unpack is None:
        yield chunk
        return
    while chunk:
        try:
            yield unpack.decompress(chunk, MAX_LINE)
        except zlib.error as error:
            message = f"the gzip data is invalid: {error}"
            raise LogError(message) from error
        chunk = unpack.unconsumed_tail


def _cloudtrail(document: dict[str, Any]) -> Entry:
    error = document.get("errorCode") or document.get("errorMessage")
    failed = (document.get("responseElements") or {}).get("ConsoleLogin") == "Failure"
    return Entry(
        event=_text(document["eventName"]),
        source=_text(document["sourceIPAddress"]),
        time=_time(document["eventTime"]),
        error=_text(error) if error else "Failure" if failed else None,
        sent=_bytes(document.get("bytesTransferred", 0)),
        destination=_optional(document.get("destinationIPAddress")),
    )


def _flow(document: dict[str, Any]) -> Entry:
    # A flow of VPC Flow Logs; its end is when the bytes had been sent.
    return Entry(
        event="NetworkFlow",
        source=_text(document["srcaddr"]),
        time=_time(document.get("end", document.get("start"))),
        sent=_bytes(document["bytes"]) if document.get("action", "ACCEPT") == "ACCEPT" else 0,
        destination=_text(document["dstaddr"]),
    )


def _application(document: dict[str, Any]) -> Entry:
    return Entry(
        event=_text(document["event"]),
        source=_text(document["source"]),
        time=_time(document["time"]),
        error=_optional(document.get("error")),
        sent=_bytes(document.get("bytes", 0)),
        destination=_optional(document.get("destination")),
    )


#: How events are read, by a field that only this shape has.
_SHAPES: dict[str, Callable[[dict[str, Any]], Entry]] = {
    "eventName": _cloudtrail,
    "srcaddr": _flow,
    "event": _application,
}


def _id(document: dict[str, Any]) -> str:
    given = document.get("eventID") or document.get("id")
    text = given if isinstance(given, str) else json.dumps(document, sort_keys=True)
    return blake2b(text.encode(errors="surrogatepass"), digest_size=6).hexdigest()


def _time(value: Any) -> datetime:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError("the time has no zone")
    return time.astimezone(UTC)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 256:
        raise ValueError("a text of 1 to 256 characters is required")
    value.encode()  # a half of a surrogate pair is no text: UnicodeEncodeError, a ValueError
    return value


def _optional(value: Any) -> str | None:
    return None if value is None else _text(value)


def _bytes(value: Any) -> int:
    number = int(value)
    if not 0 <= number < 2**63:
        raise ValueError("a number of bytes is required")
    return number
