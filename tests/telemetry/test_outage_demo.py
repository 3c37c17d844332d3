"""An operator before a database that is killed under load: `status` and `top` name the tier and the reason, at once, and
tell when it is back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.conftest import Run, runner
from tests.outage.shown import Callers, stage
from tests.support.terminal import terminal

TOLD_S = 1.0
PATIENCE_S = 60.0

pytestmark = pytest.mark.timeout(120)


def told(run: Run, right: Callable[[Any], object]) -> tuple[Any, float]:
    """The first status that is `right`, and how long that took."""
    began = time.monotonic()
    while not right(status := run("status", "--json").json):
        assert time.monotonic() < began + PATIENCE_S, status
    return status, time.monotonic() - began


def tier(status: Any, name: str) -> Any:
    return next(tier for tier in status["tiers"] if tier["tier"] == name)


def normal(status: Any) -> bool:
    return status["mode"] == "NORMAL" and all(tier["state"] != "DOWN" for tier in status["tiers"])


def asked(status: Any, rpc: str) -> int:
    return sum(one["count"] for one in status["requests"] if one["rpc"] == rpc)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The servers, the command line, and `top` in a terminal, while there is load."""
    with stage(tmp_path_factory.mktemp("data")) as (postgres, valkey, daemon), Callers(daemon.target):
        run = runner(daemon.target)
        told(run, lambda status: normal(status) and asked(status, "Get") > 50 and asked(status, "Update") > 5)
        with terminal("top", "--target", daemon.target, "--interval", "0.2s", columns=120, lines=45) as top:
            top.shows(lambda screen: "NORMAL for" in screen and "requests/s" in screen)
            yield postgres, valkey, run, top


def test_a_database_that_is_killed_is_named_at_once_and_so_is_its_return(shown: Any) -> None:
    postgres, _, run, top = shown
    before = run("status", "--json").json
    postgres.kill()

    status, seconds = told(run, lambda status: status["mode"] != "NORMAL")
    began = time.monotonic()
    top.shows(lambda screen: "DEGRADED for" in screen and "WARM is down: " in screen)

    assert seconds < TOLD_S
    assert time.monotonic() - began < TOLD_S
    assert (status["mode"], status["mode_tier"], tier(status, "WARM")["state"]) == ("DEGRADED", "WARM", "DOWN")
    assert "the warm tier is away" in status["mode_reason"]
    assert "refused" in status["mode_reason"] or "terminat" in status["mode_reason"]
    text = run("status").text
    assert text.startswith("DEGRADED for ")
    assert "the warm tier is away" in text.splitlines()[0]
    assert any(line.startswith("WARM (authority)  DOWN ") for line in text.splitlines())

    # It goes on meanwhile, and what it keeps is told.
    status, _ = told(run, lambda status: status["journal_depth"] > 3 and tier(status, "WARM")["breaker"] == "OPEN")
    assert asked(status, "Get") > asked(before, "Get")
    assert "writes in the journal" in run("status").text

    postgres.restart()
    status, _ = told(run, normal)
    assert (status["mode_reason"], status["mode_tier"]) == ("", None)
    assert status["mode_changes"] == before["mode_changes"] + 2
    assert tier(status, "WARM")["latest_failure"]
    assert "answers again; the latest failure was " in run("status").text
    screen = top.shows(lambda screen: "DEGRADED → NORMAL" in screen)
    assert "WARM answers again, after " in screen


def test_a_cache_that_is_killed_is_named_while_the_mode_stays_normal(shown: Any) -> None:
    _, valkey, run, top = shown
    valkey.kill()

    status, seconds = told(run, lambda status: tier(status, "HOT")["state"] == "DOWN")
    screen = top.shows(lambda screen: "HOT is down: " in screen)

    assert seconds < TOLD_S
    assert status["mode"] == "NORMAL"
    assert any(line.startswith("HOT ") and "DOWN" in line for line in screen.splitlines())
    assert any(line.startswith("HOT ") and "DOWN" in line for line in run("status").text.splitlines())

    valkey.restart()
    told(run, normal)
    assert "HOT answers again, after " in top.shows(lambda screen: "HOT answers again" in screen)
