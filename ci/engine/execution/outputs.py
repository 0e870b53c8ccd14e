"""What a command printed and how it ended, as errors and logs show it."""

from dataclasses import dataclass, field

from ci.engine.errors import ExecFailedError
from ci.engine.execution.commands import CommandOutput
from ci.engine.files.rootfs import SavedLayer
from ci.engine.store.cache import Store
from ci.engine.values import Exec

#: Bytes of each stream that an error carries, as Dagger.
SHOWN = 100 << 10


@dataclass(frozen=True, kw_only=True)
class ExecResult(CommandOutput):
    """What a command left: its exit code and streams, its files and mounts."""

    image: str
    layers: list[SavedLayer] = field(default_factory=list)  # over the image
    mounts: dict[str, str]  # path -> tree in the store
    mount_points: list[list[str]]  # made for the mounts: first missing path, the mount's path


def failed(step: Exec, code: int) -> bool:
    """Return whether an exit code is not what the step expects.

    128 to 191 are ends by a signal, which are never expected.
    """
    ordinary = 0 <= code <= 127 or 192 <= code <= 255
    expected = {"SUCCESS": code == 0, "FAILURE": ordinary and code != 0, "ANY": ordinary}
    return not expected[step.expect]


def failure(store: Store, step: Exec, output: CommandOutput) -> ExecFailedError:
    """Return the error of a command whose exit code was not expected."""
    streams = [stream_text(store, each, SHOWN) for each in (output.stdout, output.stderr)]
    return ExecFailedError(list(step.args), output.code, *streams)


def stream_text(store: Store, digest: str, limit: int | None = None) -> str:
    """Return a stream as text; beyond a limit only its end, with a note in its first bytes."""
    if limit is None:
        return store.read(digest).decode(errors="replace")
    _, end, size = store.head_and_tail(digest, last=limit)
    if size <= limit:
        return end.decode(errors="replace")
    note = f"[omitting {size - limit} bytes]...".encode()
    return (note + end[len(note) :]).decode(errors="replace")


def shorten(args: tuple[str, ...]) -> str:
    """Return a command as the log shows it: one line, at most 80 characters."""
    text = " ".join(args).replace("\n", " ")
    return text if len(text) <= 80 else text[:77] + "..."
