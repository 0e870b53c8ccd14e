"""A real DynamoDB and Secrets Manager: the emulator as it comes, in a process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from agents.common.aws import Aws
from agents.common.settings import Settings


class Patient(Aws):
    """Clients that wait for an emulator on a loaded machine."""

    def client(self, service: str, *, timeout: float = 60.0, attempts: int = 1) -> Any:
        return super().client(service, timeout=max(60.0, timeout), attempts=attempts)


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path_factory.mktemp("emulator")),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "ministack"], env=environ, stdout=subprocess.DEVNULL
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("NO_PROXY", "127.0.0.1")
        try:
            _until_it_answers(f"{url}/_ministack/health", process)
            yield Patient(Settings(agent="supervisor", region="us-east-1", endpoint=url))
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def dynamo_name(aws: Aws) -> str:
    name = f"agents-{uuid.uuid4().hex[:8]}"
    aws.client("dynamodb").create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")
        ],
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
    )
    return name


def _until_it_answers(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        assert process.poll() is None, "the emulator ended"
        try:
            opener.open(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.05)  # between two looks
    raise AssertionError("the emulator does not answer")
