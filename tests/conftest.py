"""How much hypothesis tries: a little by default, much with HYPOTHESIS_PROFILE=long."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

from servers.base import stop_shared

_passed: Counter[str] = Counter()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts us in the background has it ignored, and so would the programs that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What may take longest begins first, in whatever order the rest is: several processes share the files, and the last
    to end is what all wait for.
    """

    def patience(item: pytest.Item) -> float:
        marker = item.get_closest_marker("timeout")
        return 0.0 if marker is None else float(marker.args[0])

    longest: dict[str, float] = {}
    for item in items:
        name = item.nodeid.partition("::")[0]
        longest[name] = max(longest.get(name, 0.0), patience(item))
    items.sort(key=lambda item: -longest[item.nodeid.partition("::")[0]])


def pytest_unconfigure() -> None:
    """Stop the servers of this process: one of several that share the tests doesn't get to its exit handlers."""
    stop_shared()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count the contract cases that ran to their end, in whichever process."""
    if report.when == "call" and report.passed:
        _passed.update(str(value) for name, value in report.user_properties if name == "adapter")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many contract cases each adapter passed."""
    if _passed:
        terminalreporter.section("contract cases that passed")
        for adapter, count in sorted(_passed.items()):
            terminalreporter.write_line(f"{count:5}  {adapter}")
