"""Images: from registries and Dockerfiles, to registries and archives."""

import base64
import hashlib
import http.server
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagger
import docker
import httpx
import pytest

from tests.engine.behaviours import IMAGE, Behaviours, Lab, Shows

pytestmark = pytest.mark.docker
behaviour = Behaviours()


@pytest.fixture(autouse=True)
def target(lab: Lab, registry: str, tmp_path: Path) -> None:
    lab.registry = registry
    lab.extra["folder"] = tmp_path


@behaviour([True, "v", True, ["sh"]])
async def an_archive_is_an_oci_layout_with_the_configuration(lab: Lab) -> Any:
    path = lab.extra["folder"] / "i.tar"
    c = lab.base.with_label("l", "v").with_env_variable("E", "1").with_entrypoint(["sh"])
    await c.with_new_file("/hello", "w").export(str(path))
    with tarfile.open(path) as tar:
        names = tar.getnames()

        def read(name: str) -> Any:
            file = tar.extractfile(name)
            assert file is not None
            return json.load(file)

        def blob(described: Any) -> str:
            return "blobs/" + str(described["digest"]).replace(":", "/")

        manifest = read(blob(read("index.json")["manifests"][0]))
        assert all(blob(layer) in names for layer in manifest["layers"])
        config = read(blob(manifest["config"]))["config"]
    told = [config["Labels"]["l"], "E=1" in config["Env"], config["Entrypoint"]]
    return ["oci-layout" in names, *told]


@behaviour([True, True, "p1"])
async def the_same_content_is_published_under_the_same_digest(lab: Lab) -> Any:
    c = lab.base.with_new_file("/pub", "p1").with_entrypoint(["cat", "/pub"])
    name = f"{lab.registry}/app:one"
    reference = await c.publish(name)
    again = await c.publish(name + "b")
    out = await lab.dag.container().from_(reference).with_exec(["cat", "/pub"]).stdout()
    same = reference.split("@")[1] == again.split("@")[1]
    return [reference.startswith(f"{name}@sha256:"), same, out]


@behaviour("error")
async def an_image_that_is_nowhere_is_an_error(lab: Lab) -> Any:
    try:
        await lab.dag.container().from_("localhost:1/none/none:none").sync()
    except dagger.QueryError:
        return "error"


@behaviour(["built for me\nctx", "9", "/w", ["cat"], "built for nobody\n"])
async def a_dockerfile_is_built_with_arguments_and_targets(lab: Lab) -> Any:
    dockerfile = f"""FROM {IMAGE} AS one
ARG WHO=nobody
RUN echo "built for $WHO" > /out
FROM {IMAGE} AS two
COPY --from=one /out /copied
COPY ctx.txt /ctx.txt
ENV Z=9
WORKDIR /w
ENTRYPOINT ["cat"]
CMD ["/copied"]
"""
    d = lab.dag.directory().with_new_file("Dockerfile", dockerfile).with_new_file("ctx.txt", "ctx")
    c = d.docker_build(build_args=[dagger.BuildArg("WHO", "me")])
    out = await c.with_exec(["/copied", "/ctx.txt"], use_entrypoint=True).stdout()
    config = [await c.env_variable("Z"), await c.workdir(), await c.entrypoint()]
    return [out, *config, await d.docker_build(target="one").file("/out").contents()]


@behaviour.cases()
async def test_behaviour(lab: Lab, shows: Shows, answer: Any) -> None:
    assert await shows(lab) == answer


# --- beyond the recording -------------------------------------------------------------------
def pushed(registry: str, digest: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return manifest and configuration as the registry has them."""
    root = f"http://{registry}/v2/app"
    types = "application/vnd.docker.distribution.manifest.v2+json"
    with httpx.Client(trust_env=False) as client:
        answer = client.get(f"{root}/manifests/{digest}", headers={"accept": types})
        assert f"sha256:{hashlib.sha256(answer.content).hexdigest()}" == digest
        manifest = answer.json()
        return manifest, client.get(f"{root}/blobs/{manifest['config']['digest']}").json()


async def test_layers_follow_the_calls_so_that_dependencies_are_shared(lab: Lab) -> None:
    shared = lab.base.with_directory("/opt/deps", lab.dag.directory().with_new_file("d", "1"))
    layers = []
    for name in ("left", "right"):
        code = lab.dag.directory().with_new_file("code.py", name).with_timestamps(315532800)
        c = shared.with_directory("/app", code).with_user("10001:10001").with_exposed_port(8000)
        digest = (await c.with_label("l", name).publish(f"{lab.registry}/app:{name}")).split("@")[1]
        manifest, config = pushed(lab.registry, digest)
        layers.append([layer["digest"] for layer in manifest["layers"]])
        assert config["config"]["Labels"]["l"] == name
        assert not [key for key in config["config"]["Labels"] if key.startswith("acso.engine")]
        assert config["config"]["User"] == "10001:10001"
        assert config["config"]["ExposedPorts"] == {"8000/tcp": {}}
        assert not [text for text in config["config"]["Env"] if "FROM_HOST" in text]
    assert layers[0][:-1] == layers[1][:-1]
    assert layers[0][-1] != layers[1][-1]


async def test_a_command_is_one_layer_and_brings_nothing_of_the_host(
    lab: Lab, client: docker.DockerClient
) -> None:
    c = lab.sh('test -s "$BUNDLE" && echo made > /made', _with_bundle(lab))
    reference = await c.publish(f"{lab.registry}/app:ran")
    tags = [tag for image in client.images.list() for tag in image.tags]
    assert f"{lab.registry}/app:ran" not in tags
    client.images.pull(reference.partition(":ran")[0], tag=reference.partition("@")[2])
    listing = client.containers.create(reference.replace(":ran", ""), ["x"])
    try:
        with pytest.raises(docker.errors.NotFound):
            listing.get_archive("/dev/acso")
        assert listing.get_archive("/made")
    finally:
        listing.remove()
        client.images.remove(reference.replace(":ran", ""))


def _with_bundle(lab: Lab) -> dagger.Container:
    return lab.base.with_env_variable("BUNDLE", "/dev/acso/ca.pem")


@pytest.fixture
def guarded() -> Iterator[tuple[str, list[str]]]:
    """A registry that asks for a password and remembers what it was told."""
    heard: list[str] = []

    class Guard(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            given = self.headers.get("Authorization")
            if given:
                heard.append(given)
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="test"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_POST = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guard)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"localhost:{server.server_port}", heard
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_registry_gets_the_user_and_password_given_for_it(
    lab: Lab, guarded: tuple[str, list[str]]
) -> None:
    address, heard = guarded
    password = lab.dag.set_secret("password", "pass-word-1")
    c = lab.base.with_registry_auth("other:1", "nobody", password)
    c = c.with_registry_auth(address, "robot", password)
    with pytest.raises(dagger.QueryError) as caught:
        await c.publish(f"{address}/app:x")
    assert "pass-word-1" not in str(caught.value)
    assert {base64.b64decode(each.split()[1]) for each in heard} == {b"robot:pass-word-1"}


async def test_a_push_that_is_refused_says_by_whom(lab: Lab) -> None:
    with pytest.raises(dagger.QueryError, match=f"push of {lab.registry}/not-there"):
        await lab.base.publish(f"{lab.registry}/not-there:x")


async def test_a_build_that_fails_shows_its_last_lines(lab: Lab) -> None:
    text = f"FROM {IMAGE}\nRUN echo before; exit 3\n"
    d = lab.dag.directory().with_new_file("Dockerfile", text)
    with pytest.raises(dagger.QueryError, match=r"(?s)returned a non-zero code: 3.*before"):
        await d.docker_build().sync()
