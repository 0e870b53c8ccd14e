"""Containers of the tests that are not of the engine's own making."""

from typing import Any

import docker


def output_of(
    client: docker.DockerClient, image: str, command: list[str], **settings: Any
) -> bytes:
    """Run `command` in a container of `image`; return what it wrote on both streams.

    The log is read after the end: `containers.run` of the client follows it from the start, and
    a loaded Docker 20.10 then answers nothing for a command that ended at once.

    Raises:
        AssertionError: The command ended with another code than 0.
    """
    container = client.containers.create(image, command, **settings)
    try:
        container.start()
        code = container.wait()["StatusCode"]
        output: bytes = container.logs()
        assert code == 0, f"{command} ended with {code}: {output!r}"
        return output
    finally:
        container.remove(force=True)
