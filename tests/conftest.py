"""How much hypothesis tries: a little by default, much with HYPOTHESIS_PROFILE=long."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from servers.base import stop_shared

settings.register_profile(
    "fast", max_examples=100, stateful_step_count=40, deadline=None, database=None, print_blob=True
)
settings.register_profile(
    "long",
    max_examples=1_000,
    stateful_step_count=50,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def pytest_unconfigure() -> None:
    """Stop the servers of this process: one of several that share the tests doesn't get to its exit handlers."""
    stop_shared()
