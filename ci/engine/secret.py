"""Secret values: where they come from, and how they are kept out of what is shown."""

import os
from collections.abc import Iterable

import anyio

from ci.engine.errors import EngineError, UnsupportedError

STARS = b"***"


async def reveal(uri: str) -> bytes:
    """Return the value behind `env://NAME`, `file://PATH` or `cmd://COMMAND`.

    Raises:
        EngineError: the variable, the file or the command is not there.
    """
    scheme, _, rest = uri.partition("://")
    match scheme:
        case "env":
            if rest not in os.environ:
                raise EngineError(f"secret {uri}: the environment has no variable {rest}")
            return os.environb[rest.encode()]
        case "file":
            try:
                return await (await anyio.Path(rest).expanduser()).read_bytes()
            except OSError as error:
                raise EngineError(f"secret {uri}: {error.strerror}") from error
        case "cmd":
            done = await anyio.run_process(["sh", "-c", rest], check=False)
            if done.returncode != 0:
                raise EngineError(f"secret {uri}: the command ended with {done.returncode}")
            return done.stdout
    raise UnsupportedError(f"a secret from {scheme}://")


class Scrubber:
    """Replaces secret values in a stream of bytes, also where they lie across two chunks."""

    def __init__(self, values: Iterable[bytes]) -> None:
        self._values = sorted(
            {v for value in values if (v := value.strip())}, key=len, reverse=True
        )
        self._keep = max((len(value) for value in self._values), default=1) - 1
        self._rest = b""

    def feed(self, chunk: bytes, *, last: bool = False) -> bytes:
        """Return what can be shown by now; all of it at the last chunk."""
        text = self._rest + chunk
        for value in self._values:
            text = text.replace(value, STARS)
        # A value that begins before the cut lies whole in the text and is replaced by now.
        cut = len(text) if last else max(0, len(text) - self._keep)
        self._rest = text[cut:]
        return text[:cut]
