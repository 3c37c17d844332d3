"""What every journal promises, in files or in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.errors import InvalidRequest, LimitExceeded, StoreUnavailable
from sidecar.core.journal import Base, Settlement
from sidecar.core.operations import Append, Change, Increment, MergePatch, Put
from tests.stores.journal.subjects import (
    BYTES_MAX,
    SUBJECTS,
    Subject,
    buffering,
    bury,
    dead_keys,
    keys,
    opened,
    put,
)
from tests.support.clock import START_MS

OPERATIONS: dict[str, Put | Change] = {
    "put": Put(key="k", value=bytes(range(256))),
    "empty put": Put(key="k", value=b""),
    "whole put": Put(
        key="\u00e9\0/\U0001f600",
        value=b"SSJL" * 100,
        content_type="a/b",
        schema_version=3,
        labels={"\u00e9": '"', "": "\0"},
        ttl_ms=5,
        expected_version=1 << 60,
    ),
    "patch": Change(key="k", change=MergePatch(patch={"a": [1.5, None, -(2**70)], "\ud800": {"b": "\u00e9"}})),
    "patch with nothing": Change(key="k", change=MergePatch(patch=None), create=True),
    "append": Change(key="k", change=Append(items=({"a": 1}, "b", []), max_items=9), ttl_ms=1, return_value=True),
    "append of nothing": Change(key="k", change=Append(items=())),
    "increment": Change(key="k", change=Increment(delta=-(2**63), minimum=-(2**63), maximum=2**63 - 1), create=True),
    "plain increment": Change(key="k", change=Increment(delta=1)),
}
BASES = [None, Base(version=0, value=None), Base(version=1 << 62, value=b""), Base(version=1, value=b"\0base\xff")]


@pytest.fixture(params=SUBJECTS)
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    async with opened(SUBJECTS[request.param], tmp_path) as subject:
        yield subject


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_write_is_found_again_exactly_as_it_was(subject: Subject, operation: str, base: Base | None) -> None:
    write = buffering(OPERATIONS[operation], base=base, hlc=2**63 - 1, time=-1)

    buffered = await subject.journal.append(write)
    await subject.crash()

    assert buffered.write == write
    assert list(subject.journal.pending()) == [buffered]


async def test_acknowledged_writes_are_there_after_a_crash_in_their_order(subject: Subject) -> None:
    sequences = [await put(subject, f"{n}", bytes(n * 10)) for n in range(60)]

    await subject.crash()

    assert sequences == sorted(set(sequences))
    assert keys(subject) == [f"{n}" for n in range(60)]
    assert [buffered.sequence for buffered in subject.journal.pending()] == sequences


async def test_writes_that_come_together_are_kept_in_the_order_of_their_calls(subject: Subject) -> None:
    buffered = await asyncio.gather(*[subject.journal.append(buffering(f"{n}")) for n in range(100)])

    assert [each.write.operation.key for each in buffered] == [f"{n}" for n in range(100)]
    assert list(subject.journal.pending()) == buffered
    await subject.crash()
    assert list(subject.journal.pending()) == buffered


async def test_what_was_settled_is_gone_also_after_a_restart(subject: Subject) -> None:
    first, second, third = [await put(subject, key) for key in "abc"]

    await subject.journal.settle(first, Settlement.APPLIED)
    await subject.journal.settle(third, Settlement.MERGED)

    assert keys(subject) == ["b"]
    await subject.reopen()
    assert keys(subject) == ["b"]
    assert dead_keys(subject) == []
    assert [each.sequence for each in subject.journal.pending()] == [second]


async def test_what_was_settled_before_a_write_that_is_durable_stays_gone(subject: Subject) -> None:
    await subject.journal.settle(await put(subject, "a"), Settlement.APPLIED)
    await put(subject, "b")

    await subject.crash()

    assert keys(subject) == ["b"]


async def test_a_dead_write_is_kept_with_its_reason_through_a_crash(subject: Subject) -> None:
    write = buffering("a", base=None)
    buffered = await subject.journal.append(write)

    await subject.journal.bury(buffered.sequence, reason="MERGE_CONFLICT", message='"\u00e9\ud800', now=START_MS + 5)
    before = list(subject.journal.dead())
    await subject.crash()

    (dead,) = subject.journal.dead()
    assert (dead.buffered, dead.reason, dead.message, dead.dead_time) == (
        buffered,
        "MERGE_CONFLICT",
        '"\u00e9\ud800',
        START_MS + 5,
    )
    assert [dead] == before
    assert keys(subject) == []


async def test_the_dead_come_in_the_order_of_their_burials_whatever_the_clock_says(subject: Subject) -> None:
    sequences = {key: await put(subject, key) for key in "abcdef"}

    for minutes, key in enumerate("ecadbf"):
        await bury(subject, sequences[key], now=START_MS - minutes)

    assert dead_keys(subject) == list("ecadbf")
    await subject.crash()
    assert dead_keys(subject) == list("ecadbf")
    await bury(subject, await put(subject, "g"), now=0)
    await subject.reopen()
    assert dead_keys(subject) == list("ecadbfg")


async def test_a_removed_dead_write_is_forgotten_through_a_crash(subject: Subject) -> None:
    sequences = [await put(subject, key) for key in "abc"]
    for sequence in sequences:
        await bury(subject, sequence)

    await subject.journal.remove(sequences[1])
    await subject.journal.remove(sequences[1])

    assert dead_keys(subject) == ["a", "c"]
    await subject.crash()
    assert dead_keys(subject) == ["a", "c"]
    assert keys(subject) == []


async def test_removing_what_is_not_dead_does_nothing(subject: Subject) -> None:
    sequence = await put(subject, "a")

    await subject.journal.remove(sequence)
    await subject.journal.remove(99)

    assert keys(subject) == ["a"]
    await subject.crash()
    assert keys(subject) == ["a"]


@pytest.mark.parametrize("ending", ["settled", "dead", "unknown", "under way"])
async def test_a_write_ends_once(subject: Subject, ending: str) -> None:
    sequence = await put(subject, "a") if ending != "unknown" else 99
    burial: asyncio.Future[Any] | None = None
    match ending:
        case "settled":
            await subject.journal.settle(sequence, Settlement.APPLIED)
        case "dead":
            await bury(subject, sequence)
        case "under way":
            burial = asyncio.ensure_future(bury(subject, sequence))
            await asyncio.sleep(0)

    with pytest.raises(ValueError, match="not pending"):
        await subject.journal.settle(sequence, Settlement.APPLIED)
    with pytest.raises(ValueError, match="not pending"):
        await bury(subject, sequence)

    if burial is not None:
        await burial
    assert dead_keys(subject) == (["a"] if ending in {"dead", "under way"} else [])


async def test_a_write_is_not_settled_as_dead_without_a_reason(subject: Subject) -> None:
    sequence = await put(subject, "a")

    with pytest.raises(ValueError, match="buried"):
        await subject.journal.settle(sequence, Settlement.DEAD)

    assert keys(subject) == ["a"]


@pytest.mark.parametrize("restart", ["reopen", "crash"])
async def test_sequences_are_never_used_again_also_when_nothing_is_left(subject: Subject, restart: str) -> None:
    used = [await put(subject, f"{n}", bytes(500)) for n in range(20)]
    for sequence in used[:10]:
        await subject.journal.settle(sequence, Settlement.APPLIED)
    for sequence in used[10:]:
        await bury(subject, sequence)
        await subject.journal.remove(sequence)

    for _ in range(4):
        await getattr(subject, restart)()
        for buffered in subject.journal.pending():  # a crash may have forgotten what was settled
            await subject.journal.settle(buffered.sequence, Settlement.APPLIED)
        used.append(await put(subject, "later"))
        await subject.journal.settle(used[-1], Settlement.APPLIED)

    assert used == sorted(set(used))


async def test_a_write_that_does_not_fit_is_refused_and_nothing_of_it_is_kept(subject: Subject) -> None:
    value = bytes(BYTES_MAX // 4)
    sequences = [await put(subject, key, value) for key in "abc"]
    held = subject.journal.bytes_held

    with pytest.raises(LimitExceeded, match="remove dead writes, or raise the limit") as refused:
        await put(subject, "d", value)

    assert refused.value.reason == "JOURNAL_FULL"
    assert subject.journal.bytes_held == held
    await put(subject, "small")
    await bury(subject, sequences[0])
    with pytest.raises(LimitExceeded):
        await put(subject, "d", value)
    await subject.journal.remove(sequences[0])
    await put(subject, "e", value)
    await subject.crash()
    assert keys(subject) == ["b", "c", "small", "e"]


async def test_writes_that_come_together_share_the_limit(subject: Subject) -> None:
    value = bytes(BYTES_MAX // 4)

    told = await asyncio.gather(*[put(subject, f"{n}", value) for n in range(8)], return_exceptions=True)

    assert [isinstance(answer, int) for answer in told] == [True] * 3 + [False] * 5
    assert subject.journal.bytes_held <= BYTES_MAX


async def test_what_is_held_counts_pending_and_dead_and_is_the_same_after_a_restart(subject: Subject) -> None:
    assert subject.journal.bytes_held == 0
    pending, dead = await put(subject, "a", bytes(1000)), await put(subject, "b", bytes(3000))
    assert 4000 < subject.journal.bytes_held < 5500

    await bury(subject, dead)

    held = subject.journal.bytes_held
    assert 4000 < held < 5500
    await subject.crash()
    assert subject.journal.bytes_held == held
    await subject.journal.settle(pending, Settlement.APPLIED)
    assert 3000 < subject.journal.bytes_held < 4000
    await subject.journal.remove(dead)
    assert subject.journal.bytes_held == 0


async def test_an_append_whose_caller_has_gone_is_kept_and_can_be_settled(subject: Subject) -> None:
    task = asyncio.ensure_future(put(subject, "a"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await put(subject, "b")

    assert keys(subject) == ["a", "b"]
    await subject.journal.settle(subject.journal.pending()[0].sequence, Settlement.APPLIED)
    await subject.reopen()
    assert keys(subject) == ["b"]


async def test_a_change_that_is_nested_too_deeply_is_refused(subject: Subject) -> None:
    patch: Any = {}
    for _ in range(3000):
        patch = {"a": patch}

    with pytest.raises(InvalidRequest):
        await subject.journal.append(buffering(Change(key="k", change=MergePatch(patch=patch))))

    await put(subject, "after")
    assert keys(subject) == ["after"]


async def test_a_closed_journal_keeps_nothing_and_opens_again(subject: Subject) -> None:
    sequence = await put(subject, "a")
    await subject.journal.close()
    await subject.journal.close()

    for call in (put(subject, "b"), subject.journal.settle(sequence, Settlement.APPLIED), bury(subject, sequence)):
        with pytest.raises(StoreUnavailable):
            await call

    await subject.journal.open()
    await subject.journal.open()
    assert keys(subject) == ["a"]
    assert await put(subject, "c") > sequence


async def test_what_is_told_is_not_changed_by_what_comes_later(subject: Subject) -> None:
    sequence = await put(subject, "a")
    pending, dead = subject.journal.pending(), subject.journal.dead()

    await put(subject, "b")
    await bury(subject, sequence)

    assert [each.sequence for each in pending] == [sequence]
    assert list(dead) == []
