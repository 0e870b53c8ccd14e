"""Secret values: where they come from, and how they are masked in output."""

import os
import re
from collections.abc import Iterable

import anyio
import anyio.to_thread

from ci.engine.errors import EngineError, UnsupportedError

MASK = b"***"


async def reveal(uri: str) -> bytes:
    """Return the value at a secret's address.

    `env://NAME`, `file://PATH`, `cmd://COMMAND`, `vault://PATH.FIELD` (HashiCorp Vault, KV
    version 2) and `op://VAULT/ITEM/FIELD` (1Password, by its program `op`).

    Raises:
        EngineError: nothing is at that address.
    """
    scheme, _, rest = uri.partition("://")
    match scheme:
        case "env":
            if rest not in os.environ:
                raise EngineError(f"secret {uri}: the environment variable {rest} is not set")
            return os.environb[rest.encode()]
        case "file":
            try:
                return await (await anyio.Path(rest).expanduser()).read_bytes()
            except OSError as error:
                raise EngineError(f"secret {uri}: {error.strerror}") from error
        case "cmd":
            return await _output(uri, ["sh", "-c", rest])
        case "op":
            return await _output(uri, ["op", "read", "-n", uri])
        case "vault":
            from ci.engine.sources import vault  # imports hvac

            return await anyio.to_thread.run_sync(vault.read, rest)
    raise UnsupportedError(f"a secret from {scheme}://")


async def _output(uri: str, command: list[str]) -> bytes:
    try:
        done = await anyio.run_process(command, check=False)
    except FileNotFoundError as error:
        raise EngineError(f"secret {uri}: the program {command[0]} is not installed") from error
    if done.returncode != 0:
        raise EngineError(f"secret {uri}: the command ended with exit code {done.returncode}")
    return done.stdout


def as_text(name: str, value: bytes) -> str:
    """Return a secret as text; raises `EngineError`, which names it, if it is not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        message = f"secret {name}: the value is not UTF-8; mount it as a file instead"
    raise EngineError(message)  # outside `except`: the error above holds the value


def hidden_parts(values: Iterable[bytes]) -> list[bytes]:
    """Return what is masked, the longest first: each value, its text, each line that is not empty.

    A program may print a secret line by line, or with its lines joined. A value that is not UTF-8
    has no lines.
    """
    parts = {
        part for value in values for part in (value, value.strip(), *_lines(value)) if part.strip()
    }
    return sorted(parts, key=lambda part: (-len(part), part))


def _lines(value: bytes) -> list[bytes]:
    try:
        value.decode()
    except UnicodeDecodeError:
        return []
    return [line.strip() for line in value.splitlines()]


class Scrubber:
    """Masks secret values in a stream of bytes, also where one is split over two chunks."""

    def __init__(self, values: Iterable[bytes]) -> None:
        parts = hidden_parts(values)
        self._hidden = re.compile(b"|".join(map(re.escape, parts))) if parts else None
        self._keep = max(map(len, parts), default=1) - 1
        self._rest = b""

    def feed(self, chunk: bytes, *, last: bool = False) -> bytes:
        """Return the masked output so far; at the last chunk all of it."""
        text, done, masked = self._rest + chunk, 0, []
        # What begins before the cut is complete in the text, whichever part it is.
        cut = len(text) if last else max(0, len(text) - self._keep)
        for hit in self._hidden.finditer(text) if self._hidden else ():
            if hit.start() >= cut:
                break
            masked += [text[done : hit.start()], MASK]
            done = hit.end()
        cut = max(cut, done)
        self._rest = text[cut:]
        return b"".join([*masked, text[done:cut]])
