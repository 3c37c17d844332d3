from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.runtime.parsing import (
    is_loopback,
    parse_bytes,
    parse_duration_ms,
    parse_optional_duration_ms,
    parse_tcp_address,
    unix_path,
    url_path,
    without_credentials,
)

UNITS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
counts = st.integers(min_value=0, max_value=999)


@pytest.mark.parametrize(
    ("written", "ms"),
    [
        ("30m", 1_800_000),
        ("90s", 90_000),
        ("1h30m", 5_400_000),
        ("500ms", 500),
        ("1.5h", 5_400_000),
        ("2w1d", 15 * 86_400_000),
        ("PT30M", 1_800_000),
        ("P1DT2H", 26 * 3_600_000),
        ("pt0.5s", 500),
        ("P2W", 14 * 86_400_000),
        ("90", 90_000),
        (" 90 ", 90_000),
        ("0.25", 250),
        (1800, 1_800_000),
        (0.1, 100),
        (timedelta(minutes=1, milliseconds=1), 60_001),
    ],
)
def test_a_duration_in_each_form(written: object, ms: int) -> None:
    assert parse_duration_ms(written) == ms


@pytest.mark.parametrize(
    "written",
    [
        *("", "30x", "m", "30 m", "1m1h", "1h1h", "30M", "P", "PT", "P1DT", "P1M", "P1Y", "1e5", "-5s", "+5", "٣s"),
        *("9" * 65, float("nan"), float("inf"), True, None, [], 1e300),
    ],
)
def test_what_is_no_duration_is_told_the_forms(written: object) -> None:
    with pytest.raises(ValueError, match="is not a duration: write 30m, 90s, 1h30m"):
        parse_duration_ms(written)


@pytest.mark.parametrize("written", [0, "0", "0s", "PT0S", -1, -0.5, timedelta(seconds=-1)])
def test_a_duration_is_above_zero(written: object) -> None:
    with pytest.raises(ValueError, match="is not above zero"):
        parse_duration_ms(written)


@pytest.mark.parametrize("written", ["0.0001", "1.5ms", 0.0005, timedelta(microseconds=1500)])
def test_a_duration_is_never_rounded(written: object) -> None:
    with pytest.raises(ValueError, match="is finer than a millisecond"):
        parse_duration_ms(written)


@given(st.dictionaries(st.sampled_from(list(UNITS)), counts).filter(lambda parts: any(parts.values())))
def test_a_compact_duration_is_the_sum_of_its_parts(parts: dict[str, int]) -> None:
    text = "".join(f"{parts[unit]}{unit}" for unit in UNITS if unit in parts)

    assert parse_duration_ms(text) == sum(count * UNITS[unit] for unit, count in parts.items())


@given(days=counts, hours=counts, minutes=counts, ms=st.integers(min_value=1, max_value=999_999))
def test_an_iso_duration_is_the_sum_of_its_parts(days: int, hours: int, minutes: int, ms: int) -> None:
    text = f"P{days}DT{hours}H{minutes}M{ms // 1000}.{ms % 1000:03}S"

    assert parse_duration_ms(text) == days * UNITS["d"] + hours * UNITS["h"] + minutes * UNITS["m"] + ms


@given(st.integers(min_value=1, max_value=10**15))
def test_a_duration_survives_being_written_in_milliseconds(ms: int) -> None:
    assert parse_duration_ms(f"{ms}ms") == ms
    assert parse_duration_ms(f"{ms // 1000}.{ms % 1000:03}") == ms
    assert parse_duration_ms(timedelta(milliseconds=ms // 10**3)) == ms // 10**3 if ms >= 1000 else True


@given(st.text(max_size=80) | st.floats() | st.integers())
def test_any_input_is_a_positive_duration_or_a_value_error(written: object) -> None:
    with contextlib.suppress(ValueError):
        assert parse_duration_ms(written) >= 1


@pytest.mark.parametrize("written", ["none", "None", " NONE ", None])
def test_none_is_without_end(written: object) -> None:
    assert parse_optional_duration_ms(written) is None


def test_where_none_is_possible_the_message_says_so() -> None:
    assert parse_optional_duration_ms("1s") == 1000
    with pytest.raises(ValueError, match="or none, for without end"):
        parse_optional_duration_ms("never")


@pytest.mark.parametrize(
    ("written", "size"),
    [("4MiB", 4 << 20), ("512 kib", 512 << 10), ("1GiB", 1 << 30), ("100", 100), (7, 7), ("0", 0)],
)
def test_a_size_in_each_form(written: object, size: int) -> None:
    assert parse_bytes(written) == size


@pytest.mark.parametrize("written", ["", "4MB", "4 M", "-1", "1.5MiB", True, 1.5, None, "9" * 16])
def test_what_is_no_size_is_told_the_forms(written: object) -> None:
    with pytest.raises(ValueError, match="write 4MiB, 512KiB or a number of bytes"):
        parse_bytes(written)


@pytest.mark.parametrize(
    ("address", "parsed", "loopback"),
    [
        ("127.0.0.1:7420", ("127.0.0.1", 7420), True),
        ("127.9.9.9:0", ("127.9.9.9", 0), True),
        ("localhost:65535", ("localhost", 65535), True),
        ("[::1]:1", ("::1", 1), True),
        ("0.0.0.0:1", ("0.0.0.0", 1), False),
        ("[::]:1", ("::", 1), False),
        ("10.1.2.3:1", ("10.1.2.3", 1), False),
        ("localhost.example:1", ("localhost.example", 1), False),
    ],
)
def test_a_tcp_address_and_who_can_reach_it(address: str, parsed: tuple[str, int], loopback: bool) -> None:
    assert parse_tcp_address(address) == parsed
    assert is_loopback(parsed[0]) is loopback


@pytest.mark.parametrize(
    "address", ["", "host", ":1", "::1:1", "[::1]", "[x]:1", "a:", "a:65536", "a:-1", "a:٣", "a:1 "]
)
def test_what_is_no_tcp_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|the port is a number from 0 to 65535"):
        parse_tcp_address(address)


def test_a_unix_address_has_an_absolute_path() -> None:
    assert unix_path("unix:///run/state.sock") == Path("/run/state.sock")
    assert unix_path("127.0.0.1:7420") is None
    for address in ("unix://run/state.sock", "unix:state.sock", "unix:/run/s", "unix:///", "unix://"):
        with pytest.raises(ValueError, match="is not unix:///path"):
            unix_path(address)


def test_a_url_s_path_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    assert url_path("sqlite:///var/state.db") == Path("/var/state.db")
    assert url_path("file://./cold") == tmp_path / "cold"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("memory://", "memory://"),
        ("sqlite:///var/lib/state.db", "sqlite:///var/lib/state.db"),
        ("redis://user:pa%40ss@host:1/0", "redis://host:1/0"),
        (
            "redis+sentinel://u:p@h1:1,h2:2/main/0?sentinel_password=p&tls=true",
            "redis+sentinel://h1:1,h2:2/main/0?tls=true",
        ),
        ("redis+sentinel://h/main?sentinel_user=u&sentinel_password=p", "redis+sentinel://h/main"),
        ("postgresql://u:p@h1:1,h2:2/db?sslmode=verify-full", "postgresql://h1:1,h2:2/db?sslmode=verify-full"),
        ("s3://bucket/a@b?region=eu", "s3://bucket/a@b?region=eu"),
        ("redis://:p@ss@host", "redis://host"),
    ],
)
def test_a_url_is_shown_without_its_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
