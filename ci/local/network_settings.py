"""The proxies, package indexes and CA certificates of this machine, for build containers.

Behind a proxy or a mirror that inspects TLS, nothing can be installed without them. Commands get
them as environment variables when they run; they never become part of an image or a cache key.
"""

import configparser
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ci.common.certificates import CA_PATH

SYSTEM_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
#: Variables that name a bundle of CA certificates, in the order in which they are looked at.
CA_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "UV_SYSTEM_CERTS_FILE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
)
#: Set in containers, whichever of the above this machine uses.
CONTAINER_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
#: Variables of pip and uv that concern files and processes of this machine only.
NOT_FORWARDED = frozenset(
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


#: uv does not read pip's settings: its variables with the same meaning.
UV_EQUIVALENTS = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_TRUSTED_HOST": "UV_INSECURE_HOST",
}
#: Older names of those, which uv still accepts.
_OLDER_NAMES = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """Network settings for every command in a build container."""

    exec_env: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold credentials
    ca_bundle: Path | None = None


def settings() -> HostSettings:
    """Return the settings of this machine."""
    return derive(os.environ, pip_settings(pip_files(os.environ)))


def derive(environ: Mapping[str, str], pip: Mapping[str, str]) -> HostSettings:
    """Return the settings that follow from environment variables and pip's configuration files.

    Args:
        environ: variables of this process.
        pip: the values of pip's files, by the names of their variables; `environ` overrides them.
    """
    forwarded: dict[str, str] = {}
    for name, value in {**pip, **environ}.items():
        if name.lower() in PROXIES:
            forwarded[name.lower()] = forwarded[name.upper()] = value
        elif name.startswith(("PIP_", "UV_")) and name not in NOT_FORWARDED:
            forwarded[name] = without_local_paths(value)
    for name, same in UV_EQUIVALENTS.items():
        if name in forwarded and same not in forwarded and _OLDER_NAMES.get(same) not in forwarded:
            forwarded[same] = forwarded[name]
    bundle = ca_bundle(environ, pip)
    if bundle is not None:
        forwarded |= dict.fromkeys(CONTAINER_CA_VARIABLES, CA_PATH)
    return HostSettings(exec_env={k: v for k, v in forwarded.items() if v}, ca_bundle=bundle)


def ca_bundle(environ: Mapping[str, str], pip: Mapping[str, str]) -> Path | None:
    """Return the CA bundle that this machine is configured to use, None if none is configured.

    A variable that names an absent file still shows that the built-in certificates are not enough:
    then it is the system's bundle.
    """
    named = [environ[name] for name in CA_VARIABLES if environ.get(name)]
    named += [pip["PIP_CERT"]] if "PIP_CERT" in pip else []
    if not named and not environ.get("SSL_CERT_DIR"):
        return None
    files = [Path(name) for name in named] + [SYSTEM_BUNDLE]
    return next((path.resolve() for path in files if path.is_file()), None)


def without_local_paths(value: str) -> str:
    """Return a value without the words that are paths on this machine."""
    local = ("/", "~", "./", "../", "file:", "\\")
    return " ".join(word for word in value.split() if not word.startswith(local))


def pip_files(environ: Mapping[str, str]) -> list[Path]:
    """Return pip's configuration files; later ones override earlier ones.

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
    """Return the [global] values of pip's files, by the names of their variables."""
    found: dict[str, str] = {}
    for path in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):  # pip itself reports what is wrong
            continue
        values = parser.items("global") if parser.has_section("global") else []
        for key, value in values:
            found["PIP_" + key.upper().replace("-", "_")] = " ".join(value.split())
    return found
