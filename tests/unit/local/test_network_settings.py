"""Which network settings of this machine build containers get."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ci.common.certificates import CA_PATH
from ci.local.network_settings import (
    CONTAINER_CA_VARIABLES,
    NOT_FORWARDED,
    derive,
    pip_files,
    pip_settings,
)


def test_without_settings_nothing_is_forwarded() -> None:
    found = derive({"PATH": "/bin", "HOME": "/root", "AWS_SECRET_ACCESS_KEY": "x"}, {})
    assert (found.exec_env, found.ca_bundle) == ({}, None)


def test_proxies_are_set_in_lower_and_upper_case() -> None:
    forwarded = derive({"HTTPS_PROXY": "http://p:1", "no_proxy": "localhost"}, {}).exec_env
    assert forwarded == {
        "https_proxy": "http://p:1",
        "HTTPS_PROXY": "http://p:1",
        "no_proxy": "localhost",
        "NO_PROXY": "localhost",
    }


def test_settings_of_pip_and_uv_are_forwarded_without_local_paths() -> None:
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


def test_uv_s_own_index_overrides_pip_s() -> None:
    environ = {"PIP_INDEX_URL": "https://a.test", "UV_INDEX_URL": "https://b.test"}
    assert "UV_DEFAULT_INDEX" not in derive(environ, {}).exec_env


def test_environment_variables_override_pip_s_files() -> None:
    forwarded = derive({"PIP_TIMEOUT": "5"}, {"PIP_TIMEOUT": "9", "PIP_RETRIES": "2"}).exec_env
    assert forwarded == {"PIP_TIMEOUT": "5", "PIP_RETRIES": "2"}


def test_a_ca_bundle_is_set_to_the_path_where_the_engine_mounts_it(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    found = derive({"SSL_CERT_FILE": str(bundle)}, {})
    assert found.ca_bundle == bundle
    assert found.exec_env == dict.fromkeys(CONTAINER_CA_VARIABLES, CA_PATH)


def test_a_ca_bundle_of_pip_s_files_is_used(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    assert derive({}, {"PIP_CERT": str(bundle)}).ca_bundle == bundle


def test_credentials_of_an_index_are_not_shown() -> None:
    found = derive({"PIP_INDEX_URL": "https://user:hunter2@index.test"}, {})
    assert "hunter2" in found.exec_env["PIP_INDEX_URL"]
    assert "hunter2" not in repr(found)


def test_later_files_of_pip_override_earlier_ones(tmp_path: Path) -> None:
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


def test_a_broken_file_of_pip_is_ignored(tmp_path: Path) -> None:
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


@given(
    st.dictionaries(
        st.sampled_from(
            ["PIP_X", "UV_X", "http_proxy", "AWS_SECRET_ACCESS_KEY", *sorted(NOT_FORWARDED)]
        ),
        st.text(min_size=1, max_size=20),
    )
)
def test_nothing_else_of_the_environment_is_forwarded(environ: dict[str, str]) -> None:
    forwarded = derive(environ, {}).exec_env
    allowed = {"PIP_X", "UV_X", "http_proxy", "HTTP_PROXY", *CONTAINER_CA_VARIABLES}
    assert set(forwarded) <= allowed
    assert all(
        not word.startswith("/")
        for name in ("PIP_X", "UV_X")
        for word in forwarded.get(name, "").split()
    )
