"""Start the `acso` program: `python ci ...` from anywhere."""

import sys
from pathlib import Path

# Run as a folder, Python puts that folder first on the path; the packages lie beside it.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from ci.cli import main  # noqa: E402  (needs the path set above)

sys.exit(main())
