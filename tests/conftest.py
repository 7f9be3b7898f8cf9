"""How much Hypothesis tries: the same examples in every run, or, in a long one, others each time and many more."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("every run", derandomize=True, database=None, max_examples=300)
settings.register_profile("long", derandomize=False, database=None, max_examples=3_000)
settings.load_profile("every run")
