"""Names of platforms: `os/architecture/variant`, with the short and other forms that exist."""

import re
from platform import machine

from ci.engine.errors import EngineError

#: Architectures by their other names (github.com/containerd/platforms).
_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armhf": "arm/v7",
    "armel": "arm/v6",
    "i386": "386",
}
_KNOWN_ARCHITECTURES = (
    *("386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle"),
    *("ppc64", "ppc64le", "riscv64", "s390x", "wasm"),
)
_KNOWN_SYSTEMS = (
    *("aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux"),
    *("netbsd", "openbsd", "plan9", "solaris", "windows"),
)
#: Variants that are their architecture's default.
_DEFAULTS = {"arm64/v8": "arm64", "amd64/v1": "amd64", "arm": "arm/v7"}
_PART = re.compile(r"[A-Za-z0-9_.-]+")


def normalized(text: str) -> str:
    """Return the full name of a platform, as `linux/amd64` of `linux/x86_64` or `amd64`.

    Raises:
        EngineError: a part is malformed, or a single part is no system or architecture.
    """
    parts = str(text).lower().split("/")
    if len(parts) > 3 or not all(map(_PART.fullmatch, parts)):
        raise EngineError(f"platform {text!r}: it must be os/architecture/variant")
    if len(parts) == 1:
        parts = _completed(str(text), parts[0])
    system, *rest = parts
    hardware = "/".join([_ARCHITECTURES.get(rest[0], rest[0]), *rest[1:]])
    return f"{'darwin' if system == 'macos' else system}/{_DEFAULTS.get(hardware, hardware)}"


def _completed(text: str, part: str) -> list[str]:
    """Return system and architecture of a platform of which only one is given."""
    if part in _KNOWN_ARCHITECTURES or part in _ARCHITECTURES:
        return ["linux", part]
    if part in _KNOWN_SYSTEMS:
        return [part, _ARCHITECTURES.get(machine(), machine())]
    raise EngineError(f"platform {text!r}: unknown operating system or architecture")
