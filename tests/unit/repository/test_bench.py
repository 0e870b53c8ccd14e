"""What the benchmarks measure."""

import subprocess
import sys

from tests.bench.rows import peak_memory

SCRIPT = "from tests.bench.rows import peak_memory; print(peak_memory())"


def test_the_memory_of_a_process_is_its_own_and_not_that_of_its_parent() -> None:
    held = bytearray(b"x") * (100 << 20)
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    assert 1 < float(done.stdout) < 90
    assert peak_memory() > len(held) >> 20
