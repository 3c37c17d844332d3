"""Small pages, so that everything happens between two of them."""

from __future__ import annotations

import pytest

from sidecar.engine.watching import snapshot


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of snapshots."""
    monkeypatch.setattr(snapshot, "PAGE_ENTRIES", 2)
    monkeypatch.setattr(snapshot, "PAGE_KEYS", 3)
