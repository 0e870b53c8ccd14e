"""What an image says of itself: kept by what is built on it, used by services."""

import json
import tarfile
from pathlib import Path
from typing import Any

import dagger
import pytest

from ci.engine.execution.images import canonical
from tests.engine.behaviours import IMAGE, Lab

pytestmark = pytest.mark.docker
SAYS = """
STOPSIGNAL SIGQUIT
VOLUME /data
SHELL ["/bin/bash", "-c"]
ONBUILD RUN true
"""
SERVES = """#!/bin/sh
echo "$*" > /tmp/words && cd /tmp && exec python3 -m http.server 8000
"""


def built(lab: Lab, dockerfile: str) -> dagger.Container:
    text = f"FROM {IMAGE}\n{dockerfile}"
    return lab.dag.directory().with_new_file("Dockerfile", text).docker_build()


async def exported(container: dagger.Container, path: Path) -> dict[str, Any]:
    """Return the configuration in an exported image."""
    await container.export(str(path))
    with tarfile.open(path) as tar:

        def blob(digest: str) -> Any:
            file = tar.extractfile(f"blobs/sha256/{digest.partition(':')[2]}")
            assert file is not None
            return json.load(file)

        index = tar.extractfile("index.json")
        assert index is not None
        manifest = blob(json.load(index)["manifests"][0]["digest"])
        found: dict[str, Any] = blob(manifest["config"]["digest"])["config"]
        return found


async def test_what_no_field_sets_stays_through_changes_archives_and_from(
    lab: Lab, tmp_path: Path
) -> None:
    changed = built(lab, SAYS).with_label("a", "b").with_exec(["true"])
    config = await exported(changed, tmp_path / "one.tar")
    expected = {
        "StopSignal": "SIGQUIT",
        "Volumes": {"/data": {}},
        "Shell": ["/bin/bash", "-c"],
        "OnBuild": ["RUN true"],
    }
    assert {name: config.get(name) for name in expected} == expected
    assert config["Labels"]["a"] == "b"
    assert not {"Hostname", "Image", "AttachStdin"} & set(config)
    again = lab.dag.container().import_(changed.as_tarball()).with_user("1000")
    config = await exported(again, tmp_path / "two.tar")
    assert {name: config.get(name) for name in expected} == expected


async def test_what_was_set_before_from_stays_unless_the_image_sets_it(lab: Lab) -> None:
    c = lab.dag.container().with_env_variable("MINE", "1").with_env_variable("PATH", "/mine")
    c = c.with_label("mine", "1").with_exposed_port(77, description="mine").from_(IMAGE)
    assert [await c.env_variable("MINE"), await c.label("mine")] == ["1", "1"]
    assert await c.env_variable("PATH") == await lab.base.env_variable("PATH")
    assert [[await p.port(), await p.description()] for p in await c.exposed_ports()] == [
        [77, "mine"]
    ]


async def test_an_image_is_named_right_after_from_only(lab: Lab) -> None:
    reference = await lab.base.image_ref()
    used = next(iter(lab.options.images.values()))
    name, _, digest = reference.partition("@")
    assert name == f"docker.io/{used}"
    assert canonical("alpine") == "docker.io/library/alpine"
    assert digest.startswith("sha256:")
    same = lab.base.with_registry_auth("r.io", "u", lab.dag.set_secret("p", "p"))
    assert await same.image_ref() == reference
    for changed in (lab.base.with_env_variable("A", "1"), lab.base.with_new_file("/f", "")):
        with pytest.raises(dagger.QueryError, match="right after `from`"):
            await changed.image_ref()


@pytest.mark.parametrize(
    ("change", "how", "words"),
    [
        (lambda c: c, {}, "main"),
        (lambda c: c, {"args": ["/e.sh", "own"]}, "own"),
        (lambda c: c, {"args": ["own"], "use_entrypoint": True}, "own"),
        (lambda c: c.with_default_args(["/e.sh", "set"]), {}, "set"),
        (lambda c: c.with_default_args(["set"]), {"use_entrypoint": True}, "set"),
        (
            lambda c: c.with_default_args(["set"]).with_entrypoint(["/e.sh", "first"]),
            {},
            "first",
        ),
    ],
)
async def test_a_service_uses_the_entrypoint_of_its_image(
    lab: Lab, change: Any, how: dict[str, Any], words: str
) -> None:
    image = lab.base.with_new_file("/e.sh", SERVES, permissions=0o755)
    image = image.with_default_args(["main"]).with_entrypoint(["/e.sh"], keep_default_args=True)
    loaded = lab.dag.container().import_(image.as_tarball()).with_exposed_port(8000)
    service = change(loaded).as_service(**how)
    script = "import urllib.request as u; print(u.urlopen('http://s:8000/words').read().decode())"
    c = lab.base.with_service_binding("s", service).with_exec(["python3", "-c", script])
    assert (await c.stdout()).split() == [words]


async def test_a_workdir_of_a_dockerfile_belongs_to_its_user(lab: Lab) -> None:
    text = """
WORKDIR /roots
USER 1234:77
WORKDIR /mine/deep
WORKDIR below
RUN mkdir -p /tmp/there
USER 1235
WORKDIR /tmp/there
USER root
WORKDIR /last
"""
    paths = ["/roots", "/mine/deep", "/mine/deep/below", "/tmp/there", "/last"]
    found = await built(lab, text).with_exec(["stat", "-c", "%u:%g", *paths]).stdout()
    assert found.split() == ["0:0", "1234:77", "1234:77", "1234:77", "0:0"]


async def test_a_dockerfile_that_is_ignored_is_not_copied(lab: Lab) -> None:
    text = f"FROM {IMAGE}\nCOPY . /all\n"
    d = lab.files("src/a", "b").with_new_file("Dockerfile", text)
    both = d.with_new_file(".dockerignore", "\ufeff*\n!src\n")
    assert await both.docker_build().directory("/all").glob("**") == ["src/", "src/a"]
    own = d.with_new_file("Dockerfile.dockerignore", "*\n!b\n")
    assert await own.docker_build().directory("/all").glob("**") == ["b"]
    kept = d.with_new_file(".dockerignore", "src\n")
    names = await kept.docker_build().directory("/all").glob("**")
    assert names == [".dockerignore", "Dockerfile", "b"]


async def test_a_platform_has_several_names_and_an_unknown_one_is_refused(lab: Lab) -> None:
    own = str(await lab.dag.default_platform())
    for name in ("linux", own.upper(), own.rpartition("/")[2]):
        assert await lab.dag.container(platform=dagger.Platform(name)).platform() == own
    with pytest.raises(dagger.QueryError, match="unknown operating system or architecture"):
        await lab.dag.container(platform=dagger.Platform("windows98")).id()


async def test_an_error_has_the_last_100_kib_of_the_output(lab: Lab) -> None:
    with pytest.raises(dagger.ExecError) as caught:
        await lab.sh("head -c 110000 /dev/zero | tr '\\0' a; exit 1").sync()
    assert len(caught.value.stdout) == 100 << 10
    assert caught.value.stdout.startswith(f"[omitting {110_000 - (100 << 10)} bytes]...a")
