"""What doctor says of the machine itself."""

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from ci.local.doctor import host


def test_systems_are_told_apart() -> None:
    assert host.system("linux", "Linux version 6.1").state == "ok"
    wsl = host.system("linux", "Linux version 5.15-Microsoft-standard-WSL2")
    assert wsl.detail.startswith("Linux in WSL")
    assert "virtual machine" in host.system("darwin", "").detail
    windows = host.system("win32", "")
    assert (windows.state, windows.fix) == ("broken", "use WSL 2 (docs/machines.md)")


def test_without_git_there_is_a_fix_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/git")
    assert (host.git().state, host.git().detail) == ("ok", "/usr/bin/git")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    found = host.git()
    assert (found.state, found.fix) == ("missing", "install the package git")


def test_folders_that_cannot_be_written_are_broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert host.folders({"HOME": "/"}).detail == (
        f"state {tmp_path}/state/acso/default, caches {tmp_path}/cache/acso"
    )
    assert host.folders({}).detail.endswith("; HOME is not set")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    found = host.folders({"HOME": "/"})
    assert found.state == "broken"
    assert found.fix == "set XDG_STATE_HOME to a folder that can be written"
    monkeypatch.setenv("ACSO_INSTANCE", "../x")
    assert "is not a valid name" in host.folders({}).detail


@pytest.fixture(autouse=True)
def instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACSO_INSTANCE", raising=False)


def test_a_checkout_may_be_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.checkout(tmp_path).detail == str(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = host.checkout(tmp_path)
    assert found.state == "ok"
    assert found.detail.startswith(f"{tmp_path}, read-only: the environment is in {sys.prefix}")


@pytest.mark.parametrize(
    ("families", "state", "detail"),
    [
        ({socket.AF_INET}, "ok", "IPv4"),
        ({socket.AF_INET, socket.AF_INET6}, "ok", "IPv4 and IPv6"),
        ({socket.AF_INET6}, "ok", "IPv6 only"),
        (set(), "missing", "no route"),
    ],
)
def test_a_network_has_routes(families: set[socket.AddressFamily], state: str, detail: str) -> None:
    found = host.network(families)
    assert (found.state, found.detail[: len(detail)]) == (state, detail)


def test_a_ca_file_that_is_not_there_is_named() -> None:
    found = host.proxy({"SSL_CERT_FILE": "/no/such.pem", "https_proxy": "http://p:1"})
    assert found.detail.startswith("SSL_CERT_FILE=/no/such.pem: there is no such file")
    assert found.fix == "correct or unset SSL_CERT_FILE"
    assert host.proxy({"https_proxy": "http://p:1"}).detail.startswith("https_proxy set; ")
    assert host.proxy({}).detail.startswith("no proxy; ")


def test_selinux_is_named_by_its_mode() -> None:
    assert host.selinux("").detail == "not in use"
    assert host.selinux("1").detail.startswith("enforcing")


def test_everything_is_found_on_this_machine() -> None:
    names = [found.name for found in host.findings()]
    assert names == [
        *("system", "Python", "git", "folders", "checkout", "network", "proxy and CA", "SELinux")
    ]
