"""Start the `acso` program: `python ci ...` from anywhere."""

import gc
import signal
import sys
from pathlib import Path

# Imports make hundreds of thousands of objects that stay: looked through less often, a start
# takes a tenth less. (mypy and others do the same.)
gc.set_threshold(100_000, 30, 30)
# Run as a folder, Python puts that folder first on the path; the packages lie beside it.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

try:
    from ci.cli.program import main  # needs the path set above

    code = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the result is printed
except KeyboardInterrupt:  # before the command began, or after it ended
    sys.stderr.write("error: interrupted\n  next: run the same command again\n")
    code = 130
    if "--json" in sys.argv:
        sys.stdout.write(
            '{"command": "", "exit_code": 130, "seconds": 0, "stages": [], "error": '
            '{"kind": "KeyboardInterrupt", "message": "interrupted", "exit_code": 130, '
            '"hint": "run the same command again"}}\n'
        )
gc.freeze()  # nor are they looked through once more at the end
sys.exit(code)
