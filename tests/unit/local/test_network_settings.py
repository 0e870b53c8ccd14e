"""What build containers are told of this machine's network settings."""

from pathlib import Path

from ci.common.certificates import CA_PATH
from ci.local.network_settings import (
    TOLD_CA_VARIABLES,
    derive,
    pip_files,
    pip_settings,
)


def test_a_machine_without_settings_tells_nothing() -> None:
    found = derive({"PATH": "/bin", "HOME": "/root", "AWS_SECRET_ACCESS_KEY": "x"}, {})
    assert (found.exec_env, found.ca_bundle) == ({}, None)


def test_proxies_are_told_in_both_cases() -> None:
    told = derive({"HTTPS_PROXY": "http://p:1", "no_proxy": "localhost"}, {}).exec_env
    assert told == {
        "https_proxy": "http://p:1",
        "HTTPS_PROXY": "http://p:1",
        "no_proxy": "localhost",
        "NO_PROXY": "localhost",
    }


def test_settings_of_pip_and_uv_are_told_but_for_places_of_this_machine() -> None:
    environ = {
        "PIP_INDEX_URL": "https://index.test/simple",
        "PIP_FIND_LINKS": "/opt/wheels https://links.test",
        "PIP_CACHE_DIR": "/var/cache/pip",
        "UV_HTTP_TIMEOUT": "60",
        "UV_FIND_LINKS": "/opt/wheels",
        "UV_CACHE_DIR": "relative",
    }
    assert derive(environ, {}).exec_env == {
        "PIP_INDEX_URL": "https://index.test/simple",
        "PIP_FIND_LINKS": "https://links.test",
        "UV_HTTP_TIMEOUT": "60",
        "UV_DEFAULT_INDEX": "https://index.test/simple",
    }


def test_uv_s_own_index_goes_before_pip_s() -> None:
    environ = {"PIP_INDEX_URL": "https://a.test", "UV_INDEX_URL": "https://b.test"}
    assert "UV_DEFAULT_INDEX" not in derive(environ, {}).exec_env


def test_the_environment_goes_before_pip_s_files() -> None:
    told = derive({"PIP_TIMEOUT": "5"}, {"PIP_TIMEOUT": "9", "PIP_RETRIES": "2"}).exec_env
    assert told == {"PIP_TIMEOUT": "5", "PIP_RETRIES": "2"}


def test_a_bundle_is_told_where_the_engine_shows_it(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    found = derive({"SSL_CERT_FILE": str(bundle)}, {})
    assert found.ca_bundle == bundle
    assert found.exec_env == dict.fromkeys(TOLD_CA_VARIABLES, CA_PATH)


def test_a_bundle_of_pip_s_files_counts(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    assert derive({}, {"PIP_CERT": str(bundle)}).ca_bundle == bundle


def test_credentials_of_an_index_are_not_shown() -> None:
    found = derive({"PIP_INDEX_URL": "https://user:hunter2@index.test"}, {})
    assert "hunter2" in found.exec_env["PIP_INDEX_URL"]
    assert "hunter2" not in repr(found)


def test_pip_s_files_are_read_weakest_first(tmp_path: Path) -> None:
    weak, strong = tmp_path / "weak", tmp_path / "strong"
    weak.write_text("[global]\ntimeout = 9\nindex-url = https://a.test\n")
    strong.write_text(
        "[global]\ntimeout = 5\nfind-links =\n  https://l.test\n  /opt\n[list]\nx = 1\n"
    )
    assert pip_settings([weak, tmp_path / "absent", strong]) == {
        "PIP_TIMEOUT": "5",
        "PIP_INDEX_URL": "https://a.test",
        "PIP_FIND_LINKS": "https://l.test /opt",
    }


def test_a_broken_file_of_pip_is_left_to_pip(tmp_path: Path) -> None:
    broken = tmp_path / "pip.conf"
    broken.write_text("no section\n")
    assert pip_settings([broken]) == {}


def test_pip_s_files_are_where_its_documentation_says() -> None:
    found = pip_files({"HOME": "/h", "PIP_CONFIG_FILE": "/x"})
    assert found == [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        Path("/h/.pip/pip.conf"),
        Path("/h/.config/pip/pip.conf"),
        Path("/x"),
    ]
    assert pip_files({"PIP_CONFIG_FILE": "/dev/null"}) == []
