"""Secrets: usable by commands, shown nowhere, in nothing that stays."""

import hashlib
import os
from pathlib import Path
from typing import Any

import dagger
import docker
import pytest

from tests.engine.behaviours import Behaviours, Lab, Shows
from tests.engine.conftest import OWN

pytestmark = pytest.mark.docker
behaviour = Behaviours()
VALUE = "s3cr3t-value-xyz"


def secret(lab: Lab, value: str = VALUE) -> dagger.Secret:
    return lab.dag.set_secret("tok", value)


def files_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@behaviour([hashlib.sha256(VALUE.encode()).hexdigest() + "  -\n", None])
async def a_command_has_the_value_and_the_container_does_not_tell_it(lab: Lab) -> Any:
    c = lab.base.with_secret_variable("TOK", secret(lab))
    hashed = await lab.sh('printf %s "$TOK" | sha256sum', c).stdout()
    return [hashed, await c.env_variable("TOK")]


@behaviour("v=***\n")
async def output_shows_stars(lab: Lab) -> Any:
    c = lab.base.with_secret_variable("TOK", secret(lab))
    return await lab.sh('echo "v=$TOK"; echo "e=$TOK" >&2', c).stdout()


@behaviour("0\n")
async def nothing_of_it_stays_in_the_files(lab: Lab) -> Any:
    hidden = secret(lab, "topsecret-987654")
    c = lab.base.with_secret_variable("TOK", hidden).with_mounted_secret("/run/s", hidden)
    c = lab.sh("true", c).without_secret_variable("TOK").without_mount("/run/s")
    search = "grep -rl topsecret-987654 /etc /run /root 2>/dev/null | wc -l"
    script = f"printenv TOK; cat /run/s 2>/dev/null; {search}"
    return await lab.sh(script, c, expect=dagger.ReturnType.ANY).stdout()


@behaviour("plain")
async def who_set_it_can_read_it(lab: Lab) -> Any:
    return await secret(lab, "plain").plaintext()


@behaviour.cases()
async def test_behaviour(lab: Lab, shows: Shows, answer: Any) -> None:
    """Expect the answers of a Dagger engine v0.21.8 (recorder: tests/engine/behaviours.py)."""
    assert await shows(lab) == answer


# --- beyond the recorded behaviours ------------------------------------------------------------
async def test_a_mounted_secret_has_mode_and_owner_and_cannot_be_written(lab: Lab) -> None:
    c = lab.base.with_mounted_secret("/run/s", secret(lab), owner="1000:1000", mode=0o440)
    c = lab.sh("stat -c '%a %u %g' /run/s; wc -c < /run/s; echo x >> /run/s || echo refused", c)
    assert await c.stdout() == f"440 1000 1000\n{len(VALUE)}\nrefused\n"


async def test_values_that_cross_chunks_and_errors_are_hidden_too(lab: Lab) -> None:
    c = lab.base.with_secret_variable("TOK", secret(lab))
    script = (
        'printf "%s" "${TOK%%-*}"; sleep 0.2; printf "%s\\n" "-${TOK#*-}"; echo "$TOK" >&2; exit 5'
    )
    with pytest.raises(dagger.ExecError) as caught:
        await lab.sh(script, c).sync()
    assert (caught.value.stdout, caught.value.stderr) == ("***", "***")


async def test_another_value_runs_again_and_the_same_one_does_not(lab: Lab) -> None:
    for value in ("first-value", "first-value", "other-value"):
        await lab.sh(
            "echo with-token", lab.base.with_secret_variable("T", secret(lab, value))
        ).sync()
    assert lab.ran("echo with-token") == 2


async def test_no_value_is_in_images_ids_logs_or_the_cache(
    lab: Lab, client: docker.DockerClient
) -> None:
    value = f"needle-{os.urandom(6).hex()}"
    hidden = secret(lab, value)
    c = lab.base.with_secret_variable("TOK", hidden).with_mounted_secret("/run/s", hidden)
    c = await lab.sh('test "$TOK" = "$(cat /run/s)"; echo $TOK', c).sync()
    assert value not in await c.id() + "".join(lab.lines)
    files = files_below(lab.options.cache_dir)
    assert len(files) > 10
    assert not [path for path in files if value.encode() in path.read_bytes()]
    images = client.images.list(filters=OWN)
    assert not [image for image in images if value in str(image.attrs)]


async def test_values_come_from_environment_files_and_commands(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("from file")
    monkeypatch.setenv("ENGINE_TEST_TOKEN", "from env")
    sources = {
        "env://ENGINE_TEST_TOKEN": "from env",
        f"file://{tmp_path}/token": "from file",
        "cmd://printf 'from %s' command": "from command",
    }
    for uri, value in sources.items():
        assert await lab.dag.secret(uri).plaintext() == value
    with pytest.raises(dagger.QueryError, match="variable NOT_THERE is not set"):
        await lab.dag.secret("env://NOT_THERE").plaintext()
    with pytest.raises(dagger.QueryError, match="keyring:// is not supported"):
        await lab.dag.secret("keyring://x").plaintext()


async def test_a_cache_key_stands_for_the_value(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ONE", "value-one"), ("TWO", "value-two")):
        monkeypatch.setenv(f"ENGINE_TEST_{name}", value)
        same = lab.dag.secret(f"env://ENGINE_TEST_{name}", cache_key="one for both")
        c = lab.base.with_secret_variable("T", same).with_mounted_secret("/run/t", same)
        assert await lab.sh("echo keyed; wc -c < /run/t", c).stdout() == "keyed\n9\n"
    assert lab.ran("echo keyed") == 1


async def test_each_line_of_a_secret_is_hidden(lab: Lab) -> None:
    value = secret(lab, "alpha-line-1\n\n  bravo-line-2\n")
    c = lab.base.with_secret_variable("TOK", value).with_mounted_secret("/run/s", value)
    for script, shown in {
        "head -n1 /run/s": "***\n",
        "tail -n1 /run/s": "  ***\n",
        "echo $TOK": "*** ***\n",
        'printf "%s" "$TOK"': "***",
        "cat /run/s; echo": "***\n",
        'printf "%s|" "$TOK" | tr "\\n" " "': "*** *** |",
    }.items():
        assert await lab.sh(script, c).stdout() == shown.replace("*** *** |", "***    *** |")


async def test_a_mounted_secret_is_in_memory(lab: Lab, client: docker.DockerClient) -> None:
    value = f"needle-{os.urandom(6).hex()}"
    c = lab.base.with_mounted_secret("/run/s", secret(lab, value), owner="1000")
    assert await lab.sh("stat -f -c %T /run/s", c).stdout() == "tmpfs\n"
    volumes = client.api.volumes()["Volumes"]
    held = [v for v in volumes if (v["Options"] or {}).get("type") == "tmpfs"]
    assert held
    assert all(v["Labels"]["acso.engine"] == "1" for v in held)


async def test_a_secret_hides_a_file_from_commands_only(lab: Lab) -> None:
    c = lab.base.with_mounted_secret("/s", secret(lab))
    c = c.with_mounted_file("/s", lab.dag.file("f", "file"))
    after = lab.sh("wc -c < /s", c)
    assert await after.stdout() == f"{len(VALUE)}\n"
    assert [await c.file("/s").contents(), await after.file("/s").contents()] == ["file"] * 2
    assert await c.mounts() == ["/s"]
    assert await c.without_mount("/s").mounts() == []


async def test_a_mounted_secret_can_be_the_standard_input(lab: Lab) -> None:
    c = lab.base.with_mounted_secret("/run/s", secret(lab, "shh"))
    c = c.with_exec(["tr", "a-z", "A-Z"], redirect_stdin="/run/s", redirect_stdout="/out")
    assert await c.file("/out").contents() == "SHH"


async def test_a_secret_or_volatile_variable_is_never_expanded(lab: Lab) -> None:
    c = lab.base.with_secret_variable("TOK", secret(lab)).with_volatile_variable("NOW", "1")
    for name, kind in (("TOK", "secret"), ("NOW", "volatile")):
        with pytest.raises(dagger.QueryError, match=f'{kind} env variable "{name}"'):
            await c.with_exec(["echo", f"[${{{name}}}]"], expand=True).stdout()


async def test_a_variable_that_is_not_utf8_is_named(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    value = lab.dag.secret(f"file://{tmp_path}/binary")
    mounted = lab.base.with_mounted_secret("/run/s", value)
    assert await lab.sh("wc -c < /run/s", mounted).stdout() == "2\n"
    with pytest.raises(dagger.QueryError, match="secret TOK: the value is not UTF-8"):
        await lab.sh("true", lab.base.with_secret_variable("TOK", value)).sync()
