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
from tests.engine.conftest import INSTANCE

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
    """Expect the answers of a Dagger engine v0.21.8 (recorder: tests/engine/behaviours.py)."""
    assert await shows(lab) == answer


# --- beyond the recorded behaviours ------------------------------------------------------------
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
    tags = [tag for image in client.api.images() for tag in image["RepoTags"] or ()]
    assert f"{lab.registry}/app:ran" not in tags
    pushed = lab.dag.container().from_(reference)
    assert not await pushed.exists("/dev/acso")
    assert await pushed.exists("/made")


def _with_bundle(lab: Lab) -> dagger.Container:
    return lab.base.with_env_variable("BUNDLE", "/dev/acso/ca.pem")


@pytest.fixture
def guarded() -> Iterator[tuple[str, list[str]]]:
    """A registry that asks for a password and remembers what it was told."""
    heard: list[str] = []

    class Guard(http.server.BaseHTTPRequestHandler):
        default_request_version = "HTTP/1.1"  # so that a TLS handshake is answered by HTTP

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
    with pytest.raises(dagger.QueryError, match=r"(?s)(code: 3|exit status 3).*before"):
        await d.docker_build().sync()


# --- archives ---------------------------------------------------------------------------------
FORMS: list[dict[str, Any]] = [
    {},
    {"forced_compression": dagger.ImageLayerCompression.GZIP},
    {"media_types": dagger.ImageMediaTypes.DOCKER},
]


def small(lab: Lab) -> dagger.Container:
    c = lab.dag.container().with_rootfs(lab.files("only/this"))
    return c.with_env_variable("PATH", "/bin")


@pytest.mark.parametrize("form", FORMS)
async def test_an_archive_comes_back_as_the_same_container(lab: Lab, form: dict[str, Any]) -> None:
    c = small(lab).with_env_variable("E", "1").with_entrypoint(["x"]).with_new_file("/f", "w")
    c = c.with_annotation("who", "me").with_label("l", "v").with_exposed_port(80)
    again = lab.dag.container().import_(c.as_tarball(**form))
    found = [await again.file("/f").contents(), await again.directory("/only").entries()]
    assert found == ["w", ["this"]]
    assert [await again.env_variable("E"), await again.label("l")] == ["1", "v"]
    assert await again.entrypoint() == ["x"]
    archive = c.without_annotation("who").as_tarball(**form)
    assert await again.as_tarball(**form).digest() == await archive.digest()


async def test_what_docker_saves_can_be_imported(
    lab: Lab, client: docker.DockerClient, tmp_path: Path
) -> None:
    name = f"acso-test-save:{INSTANCE}"
    await lab.keep(small(lab).with_new_file("/saved", "s").with_workdir("/w"), name)
    try:
        with (tmp_path / "s.tar").open("wb") as file:
            for chunk in client.api.get_image(name):
                file.write(chunk)
    finally:
        client.images.remove(name)
    archive = lab.dag.host().file(str(tmp_path / "s.tar"))
    c = lab.dag.container().import_(archive, tag=INSTANCE)
    assert [await c.file("/saved").contents(), await c.workdir()] == ["s", "/w"]
    with pytest.raises(dagger.QueryError, match="0 images for other"):
        await lab.dag.container().import_(archive, tag="other").sync()
    with pytest.raises(dagger.QueryError, match="not an image archive"):
        await lab.dag.container().import_(lab.dag.file("x.tar", "x")).sync()


async def test_a_variant_of_this_platform_stands_for_the_image(lab: Lab) -> None:
    c = small(lab).with_label("variant", "v")
    variants = lab.dag.container().as_tarball(platform_variants=[c])
    assert await variants.digest() == await c.as_tarball().digest()
    reference = await lab.dag.container().publish(
        f"{lab.registry}/app:variant", platform_variants=[c]
    )
    assert await lab.dag.container().from_(reference).label("variant") == "v"
    with pytest.raises(dagger.QueryError, match="2 containers for linux/"):
        await c.publish(f"{lab.registry}/app:two", platform_variants=[c])


async def test_an_annotation_that_docker_cannot_push_is_not_lost_in_silence(lab: Lab) -> None:
    c = small(lab).with_annotation("a", "b")
    with pytest.raises(dagger.QueryError, match="publish after withAnnotation is not supported"):
        await c.publish(f"{lab.registry}/app:annotated")
    assert await c.without_annotation("a").publish(f"{lab.registry}/app:plain")


async def test_a_build_leaves_out_what_dockerignore_means(lab: Lab) -> None:
    text = f"FROM {IMAGE}\nCOPY . /all\n"
    d = lab.files("keep", "secret/key", "a.log", "b.log", "deep/c.log")
    d = d.with_new_file("Dockerfile", text).with_new_file("own.Dockerfile", text)
    d = d.with_new_file(".dockerignore", "# no\n*.log\n!b.log\nsecret\nDockerfile\n")
    found = await d.docker_build().directory("/all").glob("**/*")
    assert not [path for path in found if path.startswith(("a.log", "secret"))]
    assert {"b.log", "keep", "deep/c.log"} <= set(found)
    d = d.with_new_file("own.Dockerfile.dockerignore", "keep")
    found = await d.docker_build(dockerfile="own.Dockerfile").directory("/all").glob("**/*")
    assert "keep" not in found
    assert "a.log" in found
