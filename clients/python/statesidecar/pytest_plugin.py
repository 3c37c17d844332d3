"""Pytest fixtures: a real sidecar for a test. Found by pytest wherever this package is installed.

`state_sidecar` starts a daemon of its own for each test, so nothing leaks from one test to the next.
`shared_state_sidecar` starts one for the whole run: faster, and tests must keep their keys apart themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from statesidecar.testing import RunningSidecar


@pytest.fixture
def state_sidecar() -> Iterator[RunningSidecar]:
    """A running sidecar with an empty data directory, for this test alone."""
    from statesidecar.testing import sidecar  # noqa: PLC0415 - only tests that ask for a daemon pay for its import

    with sidecar() as running:
        yield running


@pytest.fixture(scope="session")
def shared_state_sidecar() -> Iterator[RunningSidecar]:
    """A running sidecar that all tests of this run share, state included."""
    from statesidecar.testing import sidecar  # noqa: PLC0415 - as above

    with sidecar() as running:
        yield running
