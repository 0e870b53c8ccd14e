"""The width of output, and the profiles of hypothesis.

`pytest --hypothesis-profile=long` runs fuzz tests with 2,000 examples.
"""

import os

from hypothesis import settings

# Tables are as wide as they have to be, whatever terminal the tests run in.
os.environ.pop("COLUMNS", None)

settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("long", deadline=None, print_blob=True, max_examples=2000)
