"""Secret values: where they come from, and how they are masked in output."""

import os
from collections.abc import Iterable

import anyio
import anyio.to_thread

from ci.engine.errors import EngineError, UnsupportedError
from ci.engine.sources import vault

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


class Scrubber:
    """Masks secret values in a stream of bytes, also where one is split over two chunks."""

    def __init__(self, values: Iterable[bytes]) -> None:
        self._values = sorted(
            {v for value in values if (v := value.strip())}, key=len, reverse=True
        )
        self._keep = max((len(value) for value in self._values), default=1) - 1
        self._rest = b""

    def feed(self, chunk: bytes, *, last: bool = False) -> bytes:
        """Return the masked output so far; at the last chunk all of it."""
        text = self._rest + chunk
        for value in self._values:
            text = text.replace(value, MASK)
        # A value that begins before the cut is complete in the text, so it is masked already.
        cut = len(text) if last else max(0, len(text) - self._keep)
        self._rest = text[cut:]
        return text[:cut]
