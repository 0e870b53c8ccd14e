"""What is elsewhere: files on the web, git repositories, secrets of a vault."""

import base64
import hashlib
import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import dagger
import pytest

from tests.engine.behaviours import Lab

pytestmark = pytest.mark.docker


@dataclass
class Web:
    """A server of this machine: what it has, and what it was asked with."""

    url: str = ""
    pages: dict[str, bytes] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    private: str = "/private/"  # below this path it asks for a password


@pytest.fixture
def web() -> Iterator[Web]:
    found = Web()

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.path, dict(self.headers)))
            path = self.path.partition("?")[0]
            page = found.pages.get(path)
            denied = path.startswith(found.private)
            status = 302 if path in found.moved else 404 if page is None else 200
            self.send_response(401 if denied else status)
            if denied:
                self.send_header("WWW-Authenticate", "Basic realm=private")
            if path in found.moved:
                self.send_header("Location", found.moved[path])
            self.send_header("Content-Length", str(len(page or b"")))
            self.end_headers()
            self.wfile.write(page or b"")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


# --- the web ----------------------------------------------------------------------------------
async def test_a_file_of_the_web_has_name_mode_and_checksum(lab: Lab, web: Web) -> None:
    web.pages["/a/b.txt"] = b"from afar"
    token = lab.dag.set_secret("header", "Bearer t0ken")
    digest = f"sha256:{hashlib.sha256(b'from afar').hexdigest()}"
    file = lab.dag.http(f"{web.url}/a/b.txt?x=1", checksum=digest, auth_header=token)
    assert [await file.name(), await file.contents()] == ["b.txt", "from afar"]
    assert await file.stat().permissions() == 0o600
    assert web.asked[0][1]["Authorization"] == "Bearer t0ken"
    named = lab.dag.http(f"{web.url}/a/b.txt", name="n", permissions=0o755)
    c = lab.base.with_file("/n", named)
    assert await c.with_exec(["stat", "-c", "%a %s", "/n"]).stdout() == "755 9\n"


async def test_a_file_of_the_web_that_cannot_be_had_says_why(lab: Lab, web: Web) -> None:
    web.pages["/x"] = b"other"
    with pytest.raises(dagger.QueryError, match="/none: the server answers 404"):
        await lab.dag.http(f"{web.url}/none").contents()
    with pytest.raises(dagger.QueryError, match=r"expected sha256:0000.*, got sha256:"):
        await lab.dag.http(f"{web.url}/x", checksum=f"sha256:{'0' * 64}").contents()
    asked = len(web.asked)
    with pytest.raises(dagger.QueryError, match='invalid checksum "nope"'):
        await lab.dag.http(f"{web.url}/x", checksum="nope").contents()
    assert len(web.asked) == asked
    with pytest.raises(dagger.QueryError, match="must begin with http"):
        await lab.dag.http("file:///etc/passwd").contents()


async def test_no_credential_follows_a_redirect_to_another_host(
    lab: Lab, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = web.url.replace("127.0.0.1", "localhost")
    web.pages["/target"] = b"moved"
    for root, sent in ((web.url, True), (elsewhere, False)):
        web.moved = {"/start": f"{root}/target", "/v1/secret/data/a": f"{root}/v1/b"}
        header = lab.dag.set_secret("header", "Bearer t0ken")
        file = lab.dag.http(f"{web.url}/start?{sent}", auth_header=header)
        assert await file.contents() == "moved"
        assert ("Authorization" in web.asked[-1][1]) is sent
        web.pages["/v1/b"] = b'{"data": {"data": {"k": "v"}}}'
        monkeypatch.setenv("VAULT_ADDR", web.url)
        monkeypatch.setenv("VAULT_TOKEN", "root")
        secret = lab.dag.secret("vault://a.k", cache_key=str(sent))
        assert await secret.plaintext() == "v"
        assert ("X-Vault-Token" in web.asked[-1][1]) is sent


# --- git --------------------------------------------------------------------------------------
@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two commits, a branch and two versions."""
    root = tmp_path / "repository"

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(root), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    root.mkdir()
    git("init", "--quiet", "--initial-branch=main")
    (root / "f").write_text("one")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    git("add", ".")
    git("commit", "--quiet", "-m", "one")
    git("tag", "v1.9.0")
    git("tag", "v1.10.0", "-m", "with a message")
    git("checkout", "--quiet", "-b", "side/branch")
    (root / "f").write_text("side")
    git("commit", "--quiet", "-am", "side")
    git("checkout", "--quiet", "main")
    (root / "f").write_text("two")
    git("commit", "--quiet", "-am", "two")
    return root


def commit_of(root: Path, name: str) -> str:
    command = ["git", "-C", str(root), "rev-parse", f"{name}^{{commit}}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


async def test_names_of_a_repository_lead_to_commits_and_files(lab: Lab, repository: Path) -> None:
    repo = lab.dag.git(str(repository))
    told = {
        "two": [repo.head(), repo.branch("main"), repo.ref("refs/heads/main")],
        "side": [repo.branch("side/branch"), repo.commit(commit_of(repository, "side/branch"))],
        "one": [repo.tag("v1.9.0"), repo.latest_version(), repo.ref("v1.10.0")],
    }
    for text, refs in told.items():
        for ref in refs:
            assert await ref.tree().file("f").contents() == text
    assert await repo.tag("v1.10.0").commit() == commit_of(repository, "v1.10.0")
    assert await repo.head().ref() == "refs/heads/main"
    assert await repo.latest_version().ref() == "refs/tags/v1.10.0"
    assert await repo.branches() == ["main", "side/branch"]
    assert await repo.tags(patterns=["v1.9*"]) == ["v1.9.0"]
    assert await repo.url() == str(repository)
    common = repo.branch("main").common_ancestor(repo.branch("side/branch"))
    assert await common.commit() == commit_of(repository, "v1.9.0")


async def test_a_tree_of_git_has_its_history_only_as_far_as_asked(
    lab: Lab, repository: Path
) -> None:
    head = lab.dag.git(str(repository)).head()
    assert await head.tree(discard_git_dir=True).entries() == ["f", "run.sh"]
    assert ".git/" in await head.tree().entries()
    plain = lab.dag.git(str(repository), keep_git_dir=False).head().tree()
    assert await plain.entries() == ["f", "run.sh"]
    modes = [await plain.stat(path).permissions() for path in ("f", "run.sh")]
    assert modes == [0o644, 0o755]
    assert ".git/shallow" in await head.tree(depth=1).glob(".git/*")
    assert ".git/shallow" not in await head.tree(depth=0).glob(".git/*")


async def test_a_commit_is_fetched_once_for_all_sessions(lab: Lab, repository: Path) -> None:
    commit = commit_of(repository, "main")
    tree = lab.dag.git(f"file://{repository}").commit(commit).tree()
    assert await tree.file("f").contents() == "two"
    await anyio.Path(repository).rename(repository.with_name("gone"))
    again = lab.dag.git(f"file://{repository}", ssh_known_hosts="# other").commit(commit).tree()
    assert await again.file("f").contents() == "two"


async def test_a_tree_of_git_is_the_same_bytes_at_any_time(lab: Lab, repository: Path) -> None:
    digests = set()
    for url in (str(repository), f"file://{repository}"):
        tree = lab.dag.git(url).head().tree()
        digests.add(await tree.file(".git/index").digest())
        found = lab.base.with_directory("/r", tree).with_exec(
            ["stat", "-c", "%Y", "/r/f", "/r/.git"]
        )
        assert await found.stdout() == "1\n1\n"
    assert len(digests) == 1


async def test_a_repository_without_a_protocol_is_at_https_or_else_at_ssh(
    lab: Lab, web: Web, repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    web.private = "/"
    elsewhere = {
        f"file://{repository}": ["https://public.test/r", "ssh://git@private.test/r"],
        f"{web.url}/": ["https://private.test/"],
    }
    lines = [
        f'[url "{to}"]\n' + "".join(f"insteadOf = {url}\n" for url in urls)
        for to, urls in elsewhere.items()
    ]
    (tmp_path / "gitconfig").write_text("".join(lines))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    for name, url in (("public", "https://"), ("private", "ssh://git@")):
        repo = lab.dag.git(f"{name}.test/r")
        assert await repo.url() == f"{url}{name}.test/r"
        assert await repo.head().commit() == commit_of(repository, "main")
    with pytest.raises(dagger.QueryError, match=r"https://none.invalid/r"):
        await lab.dag.git("none.invalid/r").url()


async def test_a_repository_that_cannot_be_had_says_why(lab: Lab, repository: Path) -> None:
    with pytest.raises(
        dagger.QueryError, match="no branch, tag or commit is named 'refs/heads/nope'"
    ):
        await lab.dag.git(str(repository)).branch("nope").commit()
    with pytest.raises(dagger.QueryError, match=r"git /none: .*does not (exist|appear)"):
        await lab.dag.git("/none").head().commit()


async def test_a_token_goes_to_the_repositorys_host_and_not_into_the_error(
    lab: Lab, web: Web
) -> None:
    token = lab.dag.set_secret("git", "git-t0ken")
    repo = lab.dag.git(f"{web.url}/r.git", http_auth_username="me", http_auth_token=token)
    with pytest.raises(dagger.QueryError, match=r"/r\.git.* not found") as caught:
        await repo.head().commit()
    given = web.asked[0][1]["Authorization"].partition(" ")[2]
    assert base64.b64decode(given) == b"me:git-t0ken"
    assert given not in str(caught.value)


# --- vaults -----------------------------------------------------------------------------------
async def test_a_secret_of_a_vault_is_a_field_of_a_path(
    lab: Lab, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = {"data": {"data": {"token": "from the vault", "number": 5}}}
    web.pages["/v1/secret/data/team/app"] = json.dumps(page).encode()
    monkeypatch.setenv("VAULT_ADDR", web.url)
    with pytest.raises(dagger.QueryError, match="set VAULT_TOKEN"):
        await lab.dag.secret("vault://team/app.token", cache_key="0").plaintext()
    monkeypatch.setenv("VAULT_TOKEN", "root")
    assert await lab.dag.secret("vault://team/app.token").plaintext() == "from the vault"
    assert web.asked[-1][1]["X-Vault-Token"] == "root"
    for path in ("team/app.number", "team/app.other"):
        with pytest.raises(dagger.QueryError, match="no text field of that name"):
            await lab.dag.secret(f"vault://{path}").plaintext()
    with pytest.raises(dagger.QueryError, match="InvalidPath"):
        await lab.dag.secret("vault://team/none.x").plaintext()
    with pytest.raises(dagger.QueryError, match=r"must be vault://PATH\.FIELD"):
        await lab.dag.secret("vault://team").plaintext()


async def test_a_role_logs_in_to_a_vault(
    lab: Lab, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.pages["/v1/auth/approle/login"] = b'{"auth": {"client_token": "for-a-while"}}'
    web.pages["/v1/kv/data/app"] = b'{"data": {"data": {"k": "v"}}}'
    for name, value in {"ADDR": web.url, "PATH_PREFIX": "kv", "APPROLE_ROLE_ID": "r"}.items():
        monkeypatch.setenv(f"VAULT_{name}", value)
    assert await lab.dag.secret("vault://app.k").plaintext() == "v"
    assert web.asked[-1][1]["X-Vault-Token"] == "for-a-while"


async def test_a_secret_of_1password_is_what_its_program_reads(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    uri = "op://vault/item/field"
    with pytest.raises(dagger.QueryError, match="the program op is not installed"):
        await lab.dag.secret(uri, cache_key="absent").plaintext()
    (tmp_path / "op").write_text('#!/bin/sh\nprintf "%s" "$*"\n')
    (tmp_path / "op").chmod(0o755)
    assert await lab.dag.secret(uri).plaintext() == f"read -n {uri}"
