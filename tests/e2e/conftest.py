"""Real processes take longer than the suite's other tests, most of all on a machine that is busy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import DaemonProcess, daemon_process


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """A daemon on embedded tiers."""
    with daemon_process(tmp_path / "data") as running:
        yield running
