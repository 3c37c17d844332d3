"""The tests of encryption have teeth: each planted bug is caught by the one that is named for it."""

from __future__ import annotations

import inspect
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.core.errors import SidecarError
from tests.mutants.test_mutants import CRASHES
from tests.mutants.wrong_schemas import Wrong
from tests.mutants.wrong_seals import WRONG
from tests.security.sealing import embedded
from tests.security.test_encryption import shared
from tests.support.daemon import running_daemon

pytestmark = pytest.mark.timeout(240)
CAUGHT = (AssertionError, SidecarError, grpc.RpcError, pytest.fail.Exception, BaseExceptionGroup)


async def run(test: Any, directory: Path) -> None:
    """With what it asks for. Raises what the test raises."""
    asked = inspect.signature(test).parameters
    async with AsyncExitStack() as stack:
        named: dict[str, Any] = {"tmp_path": directory, "encrypted": True}
        if "daemon" in asked:
            named["daemon"] = await stack.enter_async_context(running_daemon(directory, **embedded(directory)))
        if "shared" in asked:
            settings = contextmanager(inspect.unwrap(shared))
            named["shared"] = stack.enter_context(settings(directory))
        await test(**{name: named[name] for name in asked})


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
async def test_a_planted_bug_is_caught(wrong: Wrong, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong.plant(monkeypatch.setattr)

    with pytest.raises(CAUGHT) as caught:
        await run(wrong.caught_by, tmp_path)
    assert not isinstance(caught.value, CRASHES)
