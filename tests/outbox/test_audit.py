"""The audit itself: a history in which all is well, and one change of it at a time that it has to find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.core.outbox import message_id, order_of
from tests.outbox import journal
from tests.outbox.audit import Verdict, audit
from tests.outbox.journal import Fate, Intended, Journal, Written
from tests.outbox.recorder import POISON, ROTTEN, SHY, Delivered, Recorder

NAMES = {f"1.{number}" for number in range(1, 101)}
KEYS = 7


def single(number: int) -> Written:
    """A write of a key with two messages."""
    key, name = f"key/{number % KEYS}", f"1.{number}"
    messages = (Intended(f"{name}.0", key, -1), Intended(f"{name}.1", key, -1))
    return Written(name, (key,), messages, (), False, Fate.COMMITTED, 100 + number, (True,))


WRITES = [single(number) for number in range(1, 101)]
REFUSED = Written("2.1", ("key/0",), (Intended("2.1.0", "key/0", -1),), (), True, Fate.REFUSED)
UNKNOWN = replace(single(300), name="2.2", fate=Fate.UNKNOWN, version=0, did=())
REMOVAL = Written(
    "2.3",
    ("key/1", "key/2"),
    (Intended("2.3.0", "key/1", 0), Intended("2.3.1", "key/2", 1), Intended("2.3.2", "", -1)),
    (1,),
    False,
    Fate.COMMITTED,
    500,
    (True, False),
)
ALL = [*WRITES, REFUSED, UNKNOWN, REMOVAL]


def delivery(token: str, key: str, version: int, place: int, order: str = "") -> Delivered:
    """One that is as it should be."""
    return Delivered(10**9, "a", message_id(version, place), order_of(order or key), key, version, 990, token)


DELIVERED = [
    delivery(message.token, message.key, written.version, place)
    for written in WRITES
    for place, message in enumerate(written.messages)
]
DELIVERED += [delivery("2.3.0", "key/1", 500, 0), delivery("2.3.2", "", 500, 2, "key/1")]


def swapped(one: int, other: int) -> list[Delivered]:
    """Two in each other's place."""
    changed = [*DELIVERED]
    changed[one], changed[other] = changed[other], changed[one]
    return changed


def with_(index: int, **fields: object) -> list[Delivered]:
    """One of them changed."""
    changed = [*DELIVERED]
    changed[index] = changed[index]._replace(**fields)  # type: ignore[arg-type]
    return changed


def test_all_is_well() -> None:
    verdict = audit(ALL, [*DELIVERED, DELIVERED[5], DELIVERED[-1]], requests=NAMES)

    assert not verdict.wrong
    assert (verdict.committed, verdict.delivered, verdict.duplicates) == (202, 202, 2)
    assert (verdict.refused, verdict.unknown, verdict.inversions) == (1, 1, 0)
    assert verdict.p99_ms == 10.0


WRONG: dict[str, tuple[str, Callable[[], Verdict]]] = {
    "a message is lost": ("lost", lambda: audit(ALL, DELIVERED[1:])),
    "two of a key are the other way round": ("inversions", lambda: audit(ALL, swapped(0, 2 * KEYS))),
    "two of a write are the other way round": ("inversions", lambda: audit(ALL, swapped(0, 1))),
    "many came twice": ("duplicates", lambda: audit(ALL, [*DELIVERED, *DELIVERED[:3]])),
    "a refused write's": ("not committed", lambda: audit(ALL, [*DELIVERED, delivery("2.1.0", "key/0", 600, 0)])),
    "what changed nothing": ("not committed", lambda: audit(ALL, [*DELIVERED, delivery("2.3.1", "key/2", 500, 1)])),
    "half of an unknown write": ("torn", lambda: audit(ALL, [*DELIVERED, delivery("1.300.0", "key/6", 600, 0)])),
    "an unknown write that committed": ("lost", lambda: audit(ALL, DELIVERED, requests=NAMES | {"2.2"})),
    "nobody's": ("nobody wrote it", lambda: audit(ALL, [*DELIVERED, delivery("9.9.9", "key/0", 600, 0)])),
    "an id of another version": ("another id", lambda: audit(ALL, with_(7, id=message_id(7, 7)))),
    "another version": ("another id", lambda: audit(ALL, with_(7, version=7))),
    "another key": ("another key", lambda: audit(ALL, with_(7, key="key/x"))),
    "another order": ("another key", lambda: audit(ALL, with_(7, order=order_of("key/x")))),
    "an id of two messages": ("one id, two messages", lambda: audit(ALL, [*DELIVERED, with_(0, token="1.1.1")[0]])),
    "a message of two ids": ("one message, two ids", lambda: audit(ALL, [*DELIVERED, with_(1, id="f" * 18)[1]])),
    "delivered, and given up": ("delivered and dead", lambda: audit(ALL, DELIVERED, letters=[("1.1.0", "…")])),
    "given up twice": ("dead twice", lambda: audit(ALL, DELIVERED[1:], letters=[("1.1.0", message_id(101, 0))] * 2)),
    "given up under another id": ("another id", lambda: audit(ALL, DELIVERED[1:], letters=[("1.1.0", "…")])),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_found(what: str) -> None:
    kind, verdict = WRONG[what]

    assert kind in verdict().wrong


def test_an_unknown_write_that_committed_is_counted_whole() -> None:
    both = [delivery("1.300.0", "key/6", 600, 0), delivery("1.300.1", "key/6", 600, 1)]

    verdict = audit(ALL, [*DELIVERED, *both], requests=NAMES | {"2.2"})

    assert not verdict.wrong
    assert verdict.committed == verdict.delivered == 204


def test_what_was_given_up_is_not_lost() -> None:
    verdict = audit(ALL, DELIVERED[1:], letters=[("1.1.0", message_id(101, 0))])

    assert not verdict.wrong
    assert (verdict.committed, verdict.delivered, verdict.dead) == (202, 201, 1)


def test_a_journal_tells_what_a_killed_writer_was_in(tmp_path: Path) -> None:
    with Journal(tmp_path, 1) as file:
        file.begin(replace(UNKNOWN, name="1.1"))
        file.begin(REMOVAL)
        file.end(REMOVAL.name, Fate.COMMITTED, 500, [True, False])

    assert journal.read(tmp_path) == [replace(UNKNOWN, name="1.1"), REMOVAL]


def test_the_recorder_stops_an_order_at_what_it_does_not_take(tmp_path: Path) -> None:
    rows: list[list[str | int]] = [
        ["id", order, "key", 1, 1, topic, "token", attempt]
        for order, topic, attempt in [
            ("a", SHY, 1),
            ("a", "plain", 1),
            ("b", SHY, 2),
            ("c", ROTTEN, 1),
            ("d", POISON, 9),
        ]
    ]
    with Recorder(tmp_path / "socket") as recorder:
        assert recorder.take("owner", rows) == "futpf"
    assert [one.order for one in recorder.delivered] == ["b"]
