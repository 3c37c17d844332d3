"""A daemon for each test, on each embedded authority."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.daemon import WARM_TIERS, RunningDaemon, running_daemon


@pytest.fixture(params=list(WARM_TIERS))
async def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningDaemon]:
    """A daemon whose warm tier is each of the embedded stores in turn."""
    async with running_daemon(tmp_path, tiers=WARM_TIERS[request.param]) as running:
        yield running


@pytest.fixture
async def volatile(tmp_path: Path) -> AsyncIterator[RunningDaemon]:
    """A daemon on memory alone: for what doesn't depend on the store."""
    async with running_daemon(tmp_path) as running:
        yield running
