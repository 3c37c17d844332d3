"""`status`: one screen that tells which tier is to blame, since when and why, and --json that has everything."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sidecar.cli.screen import cut, text
from sidecar.cli.status_view import screen
from statesidecar import StateClient, VersionConflict
from statesidecar.v1 import admin_service_pb2 as pb
from tests.cli.conftest import Run, runner
from tests.cli.status_support import REFUSED, RPCS, outage, status, told
from tests.cli.test_dead_writes import operating
from tests.cli.test_values import shown

COLUMNS, LINES = 100, 40
AS_JSON = {"last_minute": "last_minute_s", "cpu_time": "cpu_s", "p50": "p50_s", "p95": "p95_s", "p99": "p99_s"}
"""Durations of the wire that are numbers of seconds in JSON."""


def lines(response: pb.GetStatusResponse, width: int | None = None) -> list[str]:
    return [text(line) for line in screen(status(response), width=width)]


def test_the_first_line_tells_the_mode_since_when_and_which_tier_is_to_blame() -> None:
    assert lines(told())[0] == "NORMAL for 1h"
    assert lines(outage())[0] == (
        "DEGRADED for 12s: the warm tier is away (breaker open): "
        'connection to server at "127.0.0.1", port 5432 failed: Connection refused Is the server running?'
    )


def test_a_tier_that_is_away_has_its_own_reason_below_it() -> None:
    told = lines(outage())
    at = next(place for place, line in enumerate(told) if line.startswith("WARM"))

    assert told[at].split()[:5] == ["WARM", "(authority)", "DOWN", "12s", "OPEN"]
    assert told[at].split()[-5:] == ["5+17", "321", "45", "3/8", "-"]
    assert told[at + 1].startswith("  postgresql://127.0.0.1:5432/shop: connection to server at")


def test_a_tier_that_is_back_still_says_what_was_wrong() -> None:
    [line] = [line for line in lines(outage()) if "answers again" in line]

    assert line == "  answers again; the latest failure was 1s ago: \\x1b[2Jtimeout"


def test_all_that_can_pile_up_is_told() -> None:
    told = "\n".join(lines(outage()))

    for expected in (
        "3 changes of the mode · normal 99.7% · degraded 0.3%",
        "requests  3 in flight · 4320 conflicts in the last minute · 2 watchers · 8 followups pending · 1 followup dropped",
        "journal   1,234 writes in the journal (5.0 MiB), the oldest for 11s · 2 dead writes",
        "outbox    50 messages pending, the oldest for 11s · 4 in flight · 1 key held up by a refused message · 2 dead letters",
        "a sink takes nothing: kafka: no broker answers",
        "cleaning  15 things cleaned: 10 expired, 5 request ids · sweep of WARM is behind",
        "telemetry 9 spans dropped · exports failed: 3 traces",
        "answered in another mode than NORMAL: 42 passthrough",
        "+5,400, -7.0 MiB  estimated",
    ):
        assert expected in told


def test_rpcs_are_told_by_their_rate_with_errors_conflicts_and_percentiles() -> None:
    told = lines(outage())
    at = next(place for place, line in enumerate(told) if line.startswith("last minute"))
    first, second = told[at + 1].split(), told[at + 2].split()

    assert first == ["Get", "600", "77", "360", "1.0", "ms", "2.0", "ms", "3.0", "ms"]
    assert second[:4] == ["Set", "300", "0", "360"]
    assert told[at + 9].startswith(f"and {len(RPCS) - 8} more, ")


def test_growth_that_is_none_is_told_as_such() -> None:
    response = told()
    for size, (entries, grown) in zip(response.sizes, [(0.0, -1e-9), (0.0, 1.0), (-1.0, 0.0)], strict=False):
        size.entries_per_second, size.bytes_per_second = entries, grown
    response.sizes[3].ClearField("entries_per_second")

    rows = [line.split(maxsplit=5)[-1].rstrip() for line in lines(response) if line.startswith("WARM namespace")]

    assert rows[:4] == ["0  estimated", "0, +3.5 KiB", "-3,600, 0 B", "-"]


def test_it_fits_one_screen_whatever_there_is_to_tell() -> None:
    response = outage()
    for tier in response.tiers:
        tier.last_error = REFUSED * 3
    shown = [text(cut(line, COLUMNS)) for line in screen(status(response), width=COLUMNS)]

    assert len(shown) == LINES
    assert max(map(len, shown)) <= COLUMNS
    for begin, least in (("NEAR", 1), ("COLD", 1), ("WARM namespace", 3), ("Get ", 1), ("CAS ", 1), ("telemetry", 1)):
        assert sum(line.startswith(begin) for line in shown) >= least


def test_a_reason_that_is_longer_than_a_line_goes_on_in_the_next() -> None:
    told = lines(outage(), width=80)
    at = next(place for place, line in enumerate(told) if "postgresql://" in line)

    assert told[at : at + 2] == [
        '  postgresql://127.0.0.1:5432/shop: connection to server at "127.0.0.1", port',
        "  5432 failed: Connection refused Is the server running?",
    ]


def test_a_terminal_is_shown_the_same_and_never_what_would_control_it() -> None:
    with operating(None, outage) as target:
        told = shown("status", "--target", target)

    plain = re.sub(r"\x1b\[[0-9;]*m", "", told)
    assert plain.startswith("DEGRADED for 12s: the warm tier is away")
    assert "\x1b[2J" not in told
    assert len(plain.splitlines()) <= LINES + 1  # and where dead writes are told
    assert max(map(len, plain.splitlines())) <= COLUMNS


def test_a_pipe_gets_whole_lines_without_colours() -> None:
    with operating(None, outage) as target:
        ran = runner(target)("status")

    assert ran.code == 0
    assert "\x1b" not in ran.text
    assert ran.text.splitlines() == [line.rstrip() for line in lines(outage())]


@pytest.mark.parametrize("message", ["TierStatus", "RequestStatus", "SizeStatus", "CleaningStatus", "TelemetryStatus"])
def test_json_has_every_field_of_each_part(message: str) -> None:
    with operating(None, outage) as target:
        told = runner(target)("status", "--json").json

    part = {"TierStatus": "tiers", "SizeStatus": "sizes", "CleaningStatus": "cleaning", "RequestStatus": "requests"}
    found = told[part.get(message, "telemetry")]
    assert names(pb.DESCRIPTOR.message_types_by_name[message]) <= set(found[0] if isinstance(found, list) else found)


def test_json_has_every_field_of_the_status() -> None:
    with operating(None, outage) as target:
        told = runner(target)("status", "--json").json

    assert names(pb.GetStatusResponse.DESCRIPTOR) == set(told)
    assert set(told["process"]) == names(pb.ProcessStatus.DESCRIPTOR)
    assert set(told["tiers"][2]["pool"]) == names(pb.PoolStatus.DESCRIPTOR)
    assert set(told["event_loop_lag"]) == names(pb.LatencySummary.DESCRIPTOR)
    assert (told["mode"], told["mode_tier"], told["tiers"][2]["state"]) == ("DEGRADED", "WARM", "DOWN")
    assert told["sizes"][0]["bytes_per_second"] == -2048.0


def names(message: Any) -> set[str]:
    return {AS_JSON.get(field.name, field.name) for field in message.fields}


def test_a_daemon_that_is_too_old_to_tell_is_shown_without_it() -> None:
    with operating(None, lambda: pb.GetStatusResponse(mode="SERVING_MODE_NORMAL", daemon_version="0.0.1")) as target:
        ran = runner(target)("status")

    assert ran.code == 0
    assert ran.text.splitlines()[:2] == ["NORMAL", "state-sidecar 0.0.1"]


def test_a_real_daemon_tells_what_it_was_asked(run: Run, client: StateClient) -> None:
    key = "asked"
    client.set("session", key, b"value")
    for _ in range(3):
        client.get("session", key)
    with pytest.raises(VersionConflict):
        client.cas("session", key, b"other", expected_version=1 << 40)

    ran, as_json = run("status"), run("status", "--json").json

    assert ran.text.startswith("NORMAL for ")
    assert [line.split()[0] for line in ran.text.splitlines() if line.startswith(("HOT ", "WARM "))][:2] == [
        "HOT",
        "WARM",
    ]
    asked = {one["rpc"]: one for one in as_json["requests"]}
    assert asked["Get"]["count"] >= 3
    assert (asked["CAS"]["conflict_count"], asked["CAS"]["outcome_counts"]) == (1, {"aborted": 1})
    assert as_json["conflicts_last_minute"] == 1
    assert as_json["mode_seconds"]["normal"] > 0
    assert [tier["url"] for tier in as_json["tiers"]] == ["memory://", "memory://"]
    assert as_json["process"]["resident_bytes"] > 1 << 20
