"""How much hypothesis tries: a little by default, much with HYPOTHESIS_PROFILE=long."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

from servers.base import stop_shared

LONG_S = {
    "image/test_built_image.py": 170,
    "outbox/test_outbox.py": 150,
    "clients/test_go.py": 150,
    "e2e/test_watch.py": 130,
    "e2e/test_plan_agent.py": 120,
    "crash/test_crash_points.py": 100,
    "clients/test_typescript.py": 90,
    "unit/test_blobs_crash.py": 90,
    "sim/test_simulation.py": 80,
    "stores/s3/test_faults.py": 80,
    "contract/test_blobs.py": 80,
    "crash/test_outbox_crash_points.py": 75,
    "e2e/test_shared_backends.py": 75,
    "stores/journal/test_wrong_journals.py": 70,
    "fuzz/test_fuzz.py": 70,
    "chaos/test_chaos.py": 65,
    "outbox/test_parts.py": 60,
    "telemetry/test_truth.py": 60,
    "crash/test_keeping_crash_points.py": 60,
    "crash/test_resealing_crash_points.py": 55,
    "telemetry/test_alerts.py": 55,
    "e2e/test_rolling_upgrade.py": 55,
    "crash/test_migrating_crash_points.py": 50,
    "properties/test_store_machine.py": 50,
    "e2e/test_demo.py": 50,
    "contract/test_store_guards.py": 50,
    "contract/test_store_updates.py": 50,
    "stores/postgres/test_trouble.py": 50,
    "stores/redis/test_topologies.py": 45,
    "stores/s3/test_server.py": 45,
    "stores/dynamodb/test_faults.py": 45,
    "stores/postgres/test_epoch.py": 45,
    "stores/redis/test_eviction.py": 40,
    "e2e/test_increments.py": 40,
    # Its time limit is that of the long profile.
    "stores/journal/test_machine.py": 10,
}
"""Seconds that a file takes while three others run beside it, roughly (`--durations=0` tells). The order is what counts."""
PATIENCE_PER_S = 10.0
"""How much longer than it takes a test of any other file may take: what a time limit of its own says about it."""

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
    """What takes longest begins first, in whatever order the rest is: several processes share the files, and the last
    to end is what all wait for.
    """

    def patience_s(item: pytest.Item) -> float:
        marker = item.get_closest_marker("timeout")
        return 0.0 if marker is None else float(marker.args[0])

    longest: dict[str, float] = {}
    for item in items:
        name = item.nodeid.partition("::")[0]
        guess_s = patience_s(item) / PATIENCE_PER_S
        longest[name] = max(longest.get(name, 0.0), LONG_S.get(name.removeprefix("tests/"), guess_s))
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
