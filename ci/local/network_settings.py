"""What this machine's processes are told about networks and certificates, for build containers.

Behind a proxy or a TLS-inspecting mirror nothing can be installed without it. It is given to
commands as they run and never gets into an image or a cache key.
"""

import configparser
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ci.common.certificates import CA_PATH

SYSTEM_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
#: Each names a bundle of CA certificates, best known first.
CA_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "UV_SYSTEM_CERTS_FILE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
)
#: Told to containers, whichever of them this machine uses.
TOLD_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
#: Of pip and uv: what concerns this machine's own files, processes and terminal stays here.
STAY = frozenset(
    {
        *("PIP_CACHE_DIR", "PIP_CERT", "PIP_CLIENT_CERT", "PIP_CONFIG_FILE", "PIP_LOG"),
        *("PIP_PREFIX", "PIP_PYTHON", "PIP_REQUIRE_VIRTUALENV", "PIP_ROOT", "PIP_SRC"),
        *("PIP_TARGET", "PIP_USER", "PIP_BREAK_SYSTEM_PACKAGES", "PIP_NO_INDEX"),
        *("UV", "UV_BREAK_SYSTEM_PACKAGES", "UV_CACHE_DIR", "UV_CONFIG_FILE", "UV_ENV_FILE"),
        *("UV_INTERNAL__PARENT_INTERPRETER", "UV_LINK_MODE", "UV_PROJECT_ENVIRONMENT"),
        *("UV_PYTHON", "UV_PYTHON_INSTALL_DIR", "UV_RUN_RECURSION_DEPTH", "UV_SYSTEM_PYTHON"),
        *("UV_TOOL_BIN_DIR", "UV_TOOL_DIR", "UV_WORKING_DIRECTORY", "UV_NO_INDEX", "UV_OFFLINE"),
    }
)


#: uv does not read pip's settings; these say the same thing.
FOR_UV = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_TRUSTED_HOST": "UV_INSECURE_HOST",
}
#: Older names, which uv still takes.
_OLDER = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """Settings for every command in a build container."""

    exec_env: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold credentials
    ca_bundle: Path | None = None


def settings() -> HostSettings:
    """Return the settings of this machine."""
    return derive(os.environ, pip_settings(pip_files(os.environ)))


def derive(environ: Mapping[str, str], pip: Mapping[str, str]) -> HostSettings:
    """Return the settings that an environment and pip's files amount to.

    Args:
        environ: variables of this process.
        pip: the values of pip's files by their variables' names; the environment goes before them.
    """
    told: dict[str, str] = {}
    for name, value in {**pip, **environ}.items():
        if name.lower() in PROXIES:
            told[name.lower()] = told[name.upper()] = value
        elif name.startswith(("PIP_", "UV_")) and name not in STAY:
            told[name] = elsewhere(value)
    for name, same in FOR_UV.items():
        if name in told and same not in told and _OLDER.get(same) not in told:
            told[same] = told[name]
    bundle = ca_bundle(environ, pip)
    if bundle is not None:
        told |= dict.fromkeys(TOLD_CA_VARIABLES, CA_PATH)
    return HostSettings(exec_env={k: v for k, v in told.items() if v}, ca_bundle=bundle)


def ca_bundle(environ: Mapping[str, str], pip: Mapping[str, str]) -> Path | None:
    """Return the CA certificates that this machine was told to trust, None if it was told nothing.

    A variable that names a file which is not there still tells that the built-in certificates are
    not enough; the system's bundle then stands in for it.
    """
    named = [environ[name] for name in CA_VARIABLES if environ.get(name)]
    named += [pip["PIP_CERT"]] if "PIP_CERT" in pip else []
    if not named and not environ.get("SSL_CERT_DIR"):
        return None
    files = [Path(name) for name in named] + [SYSTEM_BUNDLE]
    return next((path.resolve() for path in files if path.is_file()), None)


def elsewhere(value: str) -> str:
    """Return the words of a value that do not name places of this machine's file system."""
    local = ("/", "~", "./", "../", "file:", "\\")
    return " ".join(word for word in value.split() if not word.startswith(local))


def pip_files(environ: Mapping[str, str]) -> list[Path]:
    """Return the files that pip reads its settings from, weakest first.

    Source: pip's documentation, "Configuration", section "Location".
    """
    chosen = environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    folders = [Path(item) for item in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")]
    home = Path(environ.get("HOME") or Path.home())
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return [
        *(folder / "pip" / "pip.conf" for folder in reversed(folders)),
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        user / "pip" / "pip.conf",
        *([Path(chosen)] if chosen else []),
    ]


def pip_settings(files: Sequence[Path]) -> dict[str, str]:
    """Return the [global] values of pip's files by the names of their variables."""
    found: dict[str, str] = {}
    for path in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):  # pip itself will say what is wrong
            continue
        values = parser.items("global") if parser.has_section("global") else []
        for key, value in values:
            found["PIP_" + key.upper().replace("-", "_")] = " ".join(value.split())
    return found
