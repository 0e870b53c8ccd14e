"""Profiles of hypothesis: `pytest --hypothesis-profile=long` for 2,000 examples of fuzz tests."""

from hypothesis import settings

settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("long", deadline=None, print_blob=True, max_examples=2000)
