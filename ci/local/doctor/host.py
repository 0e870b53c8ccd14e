"""The machine itself: system, Python, git, folders, network, proxy, SELinux."""

import os
import platform
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from ci.errors import UsageError
from ci.local import network_settings, paths
from ci.local.doctor.findings import Finding

ROOT = Path(__file__).resolve().parents[3]
SELINUX = Path("/sys/fs/selinux/enforce")
VERSION = Path("/proc/version")
#: Addresses for documentation, one of each family: nothing is sent to them, only a route is needed.
ROUTES = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}


def findings() -> list[Finding]:
    """Return the state of the machine; starts nothing and sends nothing."""
    return [
        system(sys.platform, _text(VERSION)),
        _python(),
        git(),
        folders(os.environ),
        checkout(ROOT),
        network({family for family in ROUTES if _has_route(family)}),
        proxy(os.environ),
        selinux(_text(SELINUX)),
    ]


def system(name: str, version: str) -> Finding:
    """Return what this machine is: `sys.platform`, and the text of /proc/version."""
    if name == "darwin":
        detail = f"macOS {platform.mac_ver()[0]}, {platform.machine()}: containers run in a virtual"
        return Finding(name="system", state="ok", detail=f"{detail} machine (docs/machines.md)")
    if name != "linux":
        fix = "use WSL 2 (docs/machines.md)"
        return Finding(name="system", state="broken", detail=f"{name} is not supported", fix=fix)
    if "microsoft" in version.lower():
        return Finding(name="system", state="ok", detail=f"Linux in WSL, {platform.machine()}")
    try:
        release = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        release = "Linux"
    return Finding(name="system", state="ok", detail=f"{release}, {platform.machine()}")


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(name="Python", state="ok", detail=f"{version} at {sys.executable}")


def git() -> Finding:
    """Return whether git is there."""
    found = shutil.which("git")
    if found:
        return Finding(name="git", state="ok", detail=found)
    detail = "not on PATH: releases record no commit, and nobody notices uncommitted changes"
    return Finding(name="git", state="missing", detail=detail, fix="install the package git")


def folders(environ: Mapping[str, str]) -> Finding:
    """Return whether state and caches can be written."""
    name, without = "folders", "" if environ.get("HOME") else "; HOME is not set"
    try:
        wanted = {"XDG_STATE_HOME": paths.state_dir(), "XDG_CACHE_HOME": paths.cache_dir()}
    except UsageError as error:
        return Finding(name=name, state="broken", detail=str(error), fix=error.hint)
    for variable, folder in wanted.items():
        if not os.access(_existing(folder), os.W_OK):
            detail = f"{folder} cannot be written{without}"
            fix = f"set {variable} to a folder that can be written"
            return Finding(name=name, state="broken", detail=detail, fix=fix)
    state, cache = wanted.values()
    return Finding(name=name, state="ok", detail=f"state {state}, caches {cache}{without}")


def checkout(root: Path) -> Finding:
    """Return whether the checkout can be written; it need not be."""
    if os.access(root, os.W_OK):
        return Finding(name="checkout", state="ok", detail=str(root))
    detail = f"{root}, read-only: the environment is in {sys.prefix}"
    return Finding(name="checkout", state="ok", detail=f"{detail}, `selftest` does not run")


def network(families: set[socket.AddressFamily]) -> Finding:
    """Return which address families have a route."""
    if not families:
        fix = "connect it, or work with what the caches have"
        return Finding(name="network", state="missing", detail="no route", fix=fix)
    if families == {socket.AF_INET6}:
        detail = "IPv6 only: package index and AWS must answer on IPv6; containers use the bridge"
        return Finding(name="network", state="ok", detail=detail)
    names = "IPv4 and IPv6" if socket.AF_INET6 in families else "IPv4"
    return Finding(name="network", state="ok", detail=names)


def proxy(environ: Mapping[str, str]) -> Finding:
    """Return which proxy and CA certificates are used, here and in build containers."""
    named = [name for name in environ if name.lower() in network_settings.PROXIES]
    for variable in network_settings.CA_VARIABLES:
        path = environ.get(variable)
        if path and not Path(path).is_file():
            detail = f"{variable}={path}: there is no such file; containers get the system's"
            fix = f"correct or unset {variable}"
            return Finding(name="proxy and CA", state="missing", detail=detail, fix=fix)
    bundle = network_settings.settings().ca_bundle
    parts = [f"{', '.join(sorted(named))} set" if named else "no proxy"]
    parts.append(f"CA certificates of {bundle}" if bundle else "no CA certificates of its own")
    return Finding(name="proxy and CA", state="ok", detail="; ".join(parts))


def selinux(enforce: str) -> Finding:
    """Return SELinux's mode, by the text of /sys/fs/selinux/enforce."""
    modes = {"": "not in use", "0": "permissive", "1": "enforcing: not tried (docs/machines.md)"}
    return Finding(name="SELinux", state="ok", detail=modes.get(enforce, enforce))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _has_route(family: socket.AddressFamily) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((ROUTES[family], 9))  # of UDP: it looks for a route and sends nothing
    except OSError:
        return False
    return True
