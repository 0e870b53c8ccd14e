"""The start of an engine, which every command of the pipeline waits for."""

import subprocess
import sys

#: What few programs ask for.
ON_DEMAND = (
    "ci.engine.execution.dockerfile",
    "ci.engine.execution.port_forwards",
    "ci.engine.sources.git",
    "ci.engine.sources.http",
    "ci.engine.sources.vault",
    "ci.engine.store.oci",
    "httpx",
    "hvac",
)


def test_what_few_programs_ask_for_is_not_imported_at_the_start() -> None:
    code = "import sys, ci.engine, ci.engine.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "ci.engine.execution.steps" in loaded
    assert not set(ON_DEMAND) & set(loaded)
