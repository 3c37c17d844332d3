"""`top`: its screens by statuses as they come, and the program in a terminal before a real daemon."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sidecar.cli.screen import Column, Span, cut, lasted, line, number, sparkline, table, text, took
from sidecar.cli.top_history import SAMPLES_MAX, History
from sidecar.cli.top_view import Block, arranged, screen
from statesidecar import StateClient
from statesidecar.v1 import admin_service_pb2 as pb
from tests.cli.conftest import Run, process
from tests.cli.status_support import outage, status, told
from tests.support.clock import START_MS
from tests.support.process import daemon_process
from tests.support.terminal import terminal

NOW = datetime(2027, 1, 15, 9, 0, 0, tzinfo=UTC)
HOUR_MS = START_MS + 3_600_000


class Seen:
    """A history to which statuses come a second apart."""

    def __init__(self, *answers: pb.GetStatusResponse | str) -> None:
        self.history = History("127.0.0.1:7420")
        self.now = NOW
        for answer in answers:
            self.see(answer)

    def see(self, answer: pb.GetStatusResponse | str) -> None:
        if isinstance(answer, str):
            self.history.failed(answer, self.now)
        else:
            self.history.answered(status(answer), self.now)
        self.now += timedelta(seconds=1)

    def lines(self, width: int = 80, height: int = 24) -> list[str]:
        shown = screen(self.history, self.now, width=width, height=height, interval_s=1.0)
        return [text(line) for line in shown]

    def line(self, begin: str, **size: int) -> str:
        return next(line for line in self.lines(**size) if line.startswith(begin))

    @property
    def events(self) -> list[str]:
        return [span.text for _, span in self.history.events]


def test_rates_are_differences_by_the_daemons_clock() -> None:
    seen = Seen(told(count=1_000), told(now=HOUR_MS + 2_000, count=1_500))

    # Eleven RPCs had 500 requests each within two seconds; top's own don't count.
    assert seen.line("requests/s").split()[:2] == ["requests/s", "2,750"]
    assert list(seen.history.series("rate", "Get")) == [None, 250.0]
    assert seen.history.series("hits", "NEAR")[-1] == 0.5
    assert not any("GetStatus" in line for line in seen.lines(height=60))


def test_the_daemons_restart_is_told_and_makes_no_rates() -> None:
    restarted = told(now=HOUR_MS + 1_000, count=5)
    restarted.start_time.FromMilliseconds(HOUR_MS)
    seen = Seen(told(count=1_000), restarted)

    assert seen.events == ["the daemon was started anew"]
    assert not any(seen.history.series("rate"))


def test_an_outage_is_told_with_tier_and_reason_and_its_end() -> None:
    seen = Seen(told(), outage(now=HOUR_MS + 1_000), told(now=HOUR_MS + 20_000))

    assert seen.events[0].startswith("WARM is down: connection to server at")
    assert seen.events[1].startswith("NORMAL → DEGRADED: the warm tier is away (breaker open)")
    assert seen.events[2].startswith("WARM answers again")
    assert seen.events[3] == "DEGRADED → NORMAL"
    assert any(line.startswith("09:00:01 NORMAL → DEGRADED") for line in seen.lines(height=60))


def test_while_it_lasts_the_head_and_the_tier_say_so() -> None:
    seen = Seen(told(), outage(now=HOUR_MS + 12_000))

    assert seen.lines()[0].startswith("DEGRADED for 12s: the warm tier is away (breaker")
    assert seen.line("WARM*").split()[1:4] == ["DOWN", "12s", "OPEN"]
    at = seen.lines().index(seen.line("WARM*"))
    assert seen.lines()[at + 1].startswith("  postgresql://127.0.0.1:5432/shop: connection to server at")


def test_a_daemon_that_goes_away_is_told_with_what_was_known_last_and_its_return() -> None:
    seen = Seen(told(), "no daemon at 127.0.0.1:7420", "no daemon at 127.0.0.1:7420")
    assert seen.lines()[0].startswith("NO ANSWER for 2s: no daemon at 127.0.0.1:7420")
    assert seen.line("WARM*").split()[1] == "UP"
    assert list(seen.history.series("conflicts")) == [4320, None, None]

    seen.see(told(now=HOUR_MS + 3_000))
    assert seen.lines()[0].startswith("NORMAL for 1h")
    assert seen.events == [
        "no answer from 127.0.0.1:7420: no daemon at 127.0.0.1:7420",
        "the daemon answers again, after 2s",
    ]


def test_before_the_first_answer_it_says_what_it_waits_for() -> None:
    assert Seen().lines() == ["asking 127.0.0.1:7420 …"]
    assert Seen("no daemon").lines() == ["no answer from 127.0.0.1:7420: no daemon"]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 40), (200, 60), (40, 10), (20, 5)])
def test_it_fits_whatever_the_terminal_is(width: int, height: int) -> None:
    seen = Seen(told(), outage(now=HOUR_MS + 1_000), outage(now=HOUR_MS + 2_000, count=2_000))

    lines = seen.lines(width, height)

    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_at_80_by_24_nothing_that_matters_is_missing() -> None:
    seen = Seen(told(), outage(now=HOUR_MS + 1_000))

    begun = [line.split()[0] for line in seen.lines() if line.strip()]

    for expected in ("DEGRADED", "requests/s", "conflicts/min", "NEAR", "HOT", "WARM*", "COLD", "Get", "kept", "q"):
        assert expected in begun


def test_backends_words_control_no_terminal() -> None:
    seen = Seen(told(), outage(now=HOUR_MS + 1_000))

    assert not any("\x1b" in line or "\n" in line or "\t" in line for line in seen.lines(200, 60))


def test_series_are_bounded_and_of_one_length() -> None:
    seen = Seen(*(told(now=HOUR_MS + 1_000 * place, count=1_000 + place) for place in range(SAMPLES_MAX + 20)))

    assert len(seen.history.series("rate")) == len(seen.history.series("conflicts")) == SAMPLES_MAX


# ---- what it is drawn with


def test_sparklines_go_from_zero_to_the_most_with_the_newest_at_the_right() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([1, None, 7], 5) == "  ▂ █"
    assert sparkline([9, 0, 7], 2) == "▁█"
    assert sparkline([0.5], 1, most=1.0) in "▄▅"
    assert (sparkline([0, 0], 2), sparkline([], 3), sparkline([1], 0)) == ("▁▁", "   ", "")


def test_tables_are_aligned() -> None:
    lines = [
        text(line) for line in table([Column("tier", right=False), Column("calls")], [("HOT", "1"), ("WARM", "100")])
    ]

    assert lines == ["tier  calls", "HOT       1", "WARM    100"]


def test_cuts_tell_that_something_is_missing() -> None:
    assert text(cut(line("abc", Span("def", "bad")), 6)) == "abcdef"
    assert text(cut(line("abc", Span("def", "bad")), 5)) == "abcd…"
    assert text(cut(line("abc", Span("def", "bad")), 2)) == "a…"


def test_room_goes_to_the_least_of_all_then_to_gaps_then_to_more() -> None:
    first, second = [line(f"a{n}") for n in range(3)], [line(f"b{n}") for n in range(3)]
    blocks = [Block(first, 1), Block(second, 1, newest=True)]

    def given(room: int) -> list[str]:
        return [text(told) for told in arranged(blocks, room)]

    assert given(2) == ["a0", "b2"]
    assert given(4) == ["", "a0", "", "b2"]
    assert given(6) == ["", "a0", "a1", "", "b1", "b2"]
    assert given(1) == ["a0"]
    assert given(0) == []


def test_numbers_and_durations_are_as_exact_as_anyone_needs() -> None:
    assert [number(value) for value in (0, 0.034, 0.34, 12.34, 1234.5)] == ["0", "0.03", "0.3", "12.3", "1,234"]
    assert [took(s) for s in (85e-6, 0.0013, 0.25, 2.5)] == ["85 µs", "1.3 ms", "250 ms", "2.50 s"]
    assert [lasted(s) for s in (0.2, 0.8, 45, 5400)] == ["0s", "1s", "45s", "1h30m"]


# ---- the program


def test_once_prints_one_screen_into_a_pipe(run: Run, client: StateClient) -> None:
    client.set("session", "once", b"value")

    ran = run("top", "--once", "--interval", "0.1s")

    assert ran.code == 0
    assert ran.text.startswith("NORMAL for ")
    assert "\x1b" not in ran.text
    assert "requests/s" in ran.text
    assert "q quits" not in ran.text


def test_without_a_terminal_it_says_what_to_do(run: Run) -> None:
    ran = run("top")

    assert (ran.code, ran.err.splitlines()[-1]) == (2, "Error: top needs a terminal; --once prints one screen anywhere")


def test_once_without_a_daemon_is_unavailable() -> None:
    with process("top", "--once", "--target", "127.0.0.1:1", stderr=-1) as running:
        _, told = running.communicate(timeout=60)

    assert running.returncode == 5
    assert b"no daemon at 127.0.0.1:1" in told


def test_in_a_terminal_it_follows_the_daemon_its_size_and_its_keys(target: str, client: StateClient) -> None:
    with terminal("top", "--target", target, "--interval", "0.1s") as at:
        at.shows(lambda screen: "NORMAL for" in screen)
        client.set("session", "live", b"value")
        at.shows(lambda screen: any(line.split()[:1] == ["Set"] for line in screen.splitlines()))
        small = at.shows(lambda screen: "q quits" in screen)
        assert not at.by_line
        at.resize(120, 40)
        large = at.shows(lambda screen: len(screen.splitlines()) == 40 and "q quits" in screen)
        at.press("q")
        code = at.ended()
        assert at.by_line

    assert code == 0
    assert len(small.splitlines()) == 24
    assert {len(line) for line in small.splitlines()} == {80}
    assert {len(line) for line in large.splitlines()} == {120}
    assert at.output.endswith("\x1b[?25h\x1b[?1049l")  # the cursor and the terminal's own screen are back


def test_a_new_size_is_drawn_at_once(target: str) -> None:
    with terminal("top", "--target", target, "--interval", "1h") as at:
        at.shows(lambda screen: "NORMAL for" in screen and "q quits" in screen)
        at.resize(120, 40)
        at.shows(lambda screen: len(screen.splitlines()) == 40 and "q quits" in screen)
        at.press("q")

        assert at.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_gives_the_terminal_back(target: str, number: signal.Signals) -> None:
    with terminal("top", "--target", target) as at:
        at.shows(lambda screen: "NORMAL for" in screen)
        at.process.send_signal(number)
        code = at.ended()
        assert at.by_line

    assert code == 130
    assert at.output.endswith("\x1b[?25h\x1b[?1049l")
    assert "Traceback" not in at.output


def test_a_daemon_that_goes_away_and_comes_back_is_followed(tmp_path: Path) -> None:
    with (
        daemon_process(tmp_path, tiers__warm="memory://") as daemon,
        terminal("top", "--target", daemon.target, "--interval", "0.1s", columns=100, lines=30) as at,
    ):
        at.shows(lambda screen: "NORMAL for" in screen)
        daemon.kill()
        gone = at.shows(lambda screen: "NO ANSWER for" in screen and "q quits" in screen)
        daemon.restart()
        at.shows(lambda screen: "the daemon answers again, after" in screen and "the daemon was started anew" in screen)
        at.press("q")

        assert at.ended() == 0
        assert f"no daemon at {daemon.target}" in gone
