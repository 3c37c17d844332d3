"""Blobs over a network that goes wrong: what callers are told is what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from threading import Barrier, Event

import pytest

from sidecar.core.errors import (
    DataLoss,
    InvalidRequest,
    LimitExceeded,
    OutcomeUnknown,
    SidecarError,
    StoreUnavailable,
)
from sidecar.stores.s3 import requests
from sidecar.stores.s3.client import connect
from sidecar.stores.s3.errors import Failure, Meaning
from sidecar.stores.s3.requests import ATTEMPTS_MAX, Requests
from sidecar.stores.s3.target import S3Target
from tests.stores.s3.conftest import Faulty
from tests.stores.s3.faults import (
    Fault,
    answers,
    answers_late,
    changes,
    cuts,
    holds,
    loses_reply,
    meets,
    repeats,
    tells,
    truncates,
)

MANY = ATTEMPTS_MAX
THREADS = 8
CONTENT = bytes(range(256)) * 40


@pytest.mark.parametrize(
    "fault", [loses_reply, answers_late(500, "InternalError"), answers_late(503), answers_late(502), repeats]
)
async def test_a_put_whose_answer_was_lost_is_told_as_done(faulty: Faulty, fault: Fault) -> None:
    faulty.proxy.add("PUT", fault)

    assert await faulty.blobs.put("name", CONTENT)

    assert await faulty.blobs.get("name") == CONTENT
    assert faulty.proxy.pending == 0


@pytest.mark.parametrize("fault", [loses_reply, cuts, answers_late(500, "InternalError"), repeats])
async def test_a_put_of_a_taken_name_is_told_as_such_whatever_is_lost(faulty: Faulty, fault: Fault) -> None:
    assert await faulty.blobs.put("name", CONTENT)
    faulty.proxy.add("PUT", fault)

    assert not await faulty.blobs.put("name", CONTENT)
    assert not await faulty.blobs.put("name", b"other")

    assert await faulty.blobs.get("name") == CONTENT


@pytest.mark.parametrize(
    "fault",
    [
        answers(503, "SlowDown"),
        answers(409, "ConditionalRequestConflict"),
        answers(429),
        answers(500, "InternalError"),
        answers(400, "BadDigest"),
        answers(400, "RequestTimeout"),
        cuts,
    ],
)
async def test_a_put_that_may_succeed_soon_is_repeated(faulty: Faulty, fault: Fault) -> None:
    faulty.proxy.add("PUT", fault, times=MANY - 1)

    assert await faulty.blobs.put("name", CONTENT)

    assert faulty.asked("PUT") == MANY
    assert await faulty.blobs.get("name") == CONTENT


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (answers(503, "SlowDown"), StoreUnavailable),
        (answers(409, "ConditionalRequestConflict"), StoreUnavailable),
        (answers(500, "InternalError"), OutcomeUnknown),
        (answers(503), OutcomeUnknown),
        (answers(503, "ServiceUnavailable"), OutcomeUnknown),
        (cuts, OutcomeUnknown),
    ],
)
async def test_repetition_is_bounded_and_then_told(faulty: Faulty, fault: Fault, error: type[SidecarError]) -> None:
    faulty.proxy.add("PUT", fault, times=100)

    with pytest.raises(error):
        await faulty.blobs.put("name", CONTENT)

    assert faulty.asked("PUT") == MANY


async def test_what_was_unknown_once_stays_unknown(faulty: Faulty) -> None:
    faulty.proxy.add("PUT", loses_reply)
    faulty.proxy.add("PUT", answers(403, "AccessDenied"))

    with pytest.raises(OutcomeUnknown):
        await faulty.blobs.put("name", CONTENT)

    assert await faulty.blobs.get("name") == CONTENT


async def test_a_put_that_can_not_look_whose_object_is_there_is_unknown(faulty: Faulty) -> None:
    faulty.proxy.add("PUT", loses_reply)
    faulty.proxy.add("HEAD", answers(403))

    with pytest.raises(OutcomeUnknown):
        await faulty.blobs.put("name", CONTENT)


@pytest.mark.parametrize(
    ("fault", "error", "reason"),
    [
        (answers(400, "EntityTooLarge"), InvalidRequest, "VALUE_TOO_LARGE"),
        (answers(413), InvalidRequest, "VALUE_TOO_LARGE"),
        (answers(507), LimitExceeded, "STORAGE_FULL"),
        (answers(403, "QuotaExceeded"), LimitExceeded, "STORAGE_FULL"),
        (answers(403, "AccessDenied"), StoreUnavailable, "AUTHORITY_UNAVAILABLE"),
    ],
)
async def test_a_refusal_is_told_at_once(faulty: Faulty, fault: Fault, error: type[SidecarError], reason: str) -> None:
    faulty.proxy.add("PUT", fault)

    with pytest.raises(error) as caught:
        await faulty.blobs.put("name", CONTENT)

    assert caught.value.reason == reason
    assert await faulty.blobs.get("name") is None


@pytest.mark.parametrize("fault", [answers(503, "SlowDown"), answers(500), cuts, truncates(100), truncates(0)])
async def test_a_get_is_repeated(faulty: Faulty, fault: Fault) -> None:
    await faulty.blobs.put("name", CONTENT)
    faulty.proxy.add("GET", fault, times=MANY - 1)

    assert await faulty.blobs.get("name") == CONTENT


@pytest.mark.parametrize("fault", [truncates(100), truncates(len(CONTENT) - 1), truncates(0), answers(500), cuts])
async def test_a_get_that_never_comes_whole_is_neither_content_nor_a_miss(faulty: Faulty, fault: Fault) -> None:
    await faulty.blobs.put("name", CONTENT)
    faulty.proxy.add("GET", fault, times=100)

    with pytest.raises(StoreUnavailable):
        await faulty.blobs.get("name")

    assert faulty.asked("GET") == MANY


@pytest.mark.parametrize(
    "change", [lambda c: c[:-1], lambda c: c + b"x", lambda _: b"", lambda c: b"X" + c[1:], lambda c: c[::-1]]
)
async def test_content_that_was_changed_is_data_loss(faulty: Faulty, change: Callable[[bytes], bytes]) -> None:
    await faulty.blobs.put("name", CONTENT)
    faulty.proxy.add("GET", changes(change))

    with pytest.raises(DataLoss) as caught:
        await faulty.blobs.get("name")

    assert caught.value.reason == "BLOB_CORRUPT"
    assert caught.value.metadata == {"name": "name"}


@pytest.mark.parametrize(
    "fault",
    [
        answers(403, "AccessDenied"),
        answers(404, "NoSuchBucket"),
        answers(404, body="<html>nginx</html>"),
        answers(418),
        answers(200, body="<html>sign in</html>"),
        answers(200, body="<p"),
        answers(200),
    ],
)
async def test_no_other_answer_is_read_as_a_miss(faulty: Faulty, fault: Fault) -> None:
    faulty.proxy.add("GET", fault, times=100)

    with pytest.raises(StoreUnavailable):
        await faulty.blobs.get("name")
    with pytest.raises(StoreUnavailable):
        _ = [name async for name in faulty.blobs.names()]


@pytest.mark.parametrize("fault", [answers(200, body="<html>sign in</html>"), answers(200), answers(204)])
async def test_a_put_that_somebody_else_answered_is_not_done(faulty: Faulty, fault: Fault) -> None:
    faulty.proxy.add("PUT", fault, times=100)

    with pytest.raises(OutcomeUnknown):
        await faulty.blobs.put("name", CONTENT)


async def test_a_bucket_that_is_gone_is_not_an_object_that_is_not_there(faulty: Faulty) -> None:
    faulty.proxy.add("HEAD", answers(404), times=2)

    with pytest.raises(StoreUnavailable, match="there is no bucket"):
        await faulty.blobs.delete("name")


@pytest.mark.parametrize("fault", [loses_reply, answers_late(500), cuts, answers(503, "SlowDown")])
async def test_a_delete_whose_answer_was_lost_is_told_as_done(faulty: Faulty, fault: Fault) -> None:
    await faulty.blobs.put("name", CONTENT)
    faulty.proxy.add("DELETE", fault)

    assert await faulty.blobs.delete("name")

    assert await faulty.blobs.get("name") is None
    assert not await faulty.blobs.delete("name")


async def test_a_delete_that_is_never_answered_is_unknown(faulty: Faulty) -> None:
    await faulty.blobs.put("name", CONTENT)
    faulty.proxy.add("DELETE", cuts, times=100)

    with pytest.raises(OutcomeUnknown):
        await faulty.blobs.delete("name")

    assert faulty.asked("DELETE") == MANY


async def test_of_those_who_delete_an_object_at_once_one_is_told_so(faulty: Faulty) -> None:
    await faulty.blobs.put("name", CONTENT)
    faulty.proxy.add("DELETE", meets(Barrier(2)), times=2)

    assert sorted(await asyncio.gather(faulty.blobs.delete("name"), faulty.blobs.delete("name"))) == [False, True]


async def test_a_request_that_hangs_ends_in_time(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faulty.blobs, "_timeout_s", 0.2)  # the sockets wait longer
    released = Event()
    for method in ("GET", "PUT", "HEAD"):
        faulty.proxy.add(method, holds(released))
    try:
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            await faulty.blobs.get("name")
        with pytest.raises(OutcomeUnknown, match="no answer in time"):
            await faulty.blobs.put("name", CONTENT)
        with pytest.raises(OutcomeUnknown, match="no answer in time"):
            await faulty.blobs.delete("name")
    finally:
        released.set()


async def test_a_request_that_hangs_gives_its_thread_back(faulty: Faulty, target: S3Target) -> None:
    client = connect(replace(target, endpoint_url=faulty.proxy.endpoint_url), timeout_s=0.2, connections=1)
    released = Event()
    faulty.proxy.add("HEAD", holds(released))
    try:
        with pytest.raises(Failure, match="does not answer in time") as caught:
            await asyncio.to_thread(Requests(client, target).ask, "HeadBucket")
    finally:
        released.set()
        client.close()

    assert caught.value.meaning is Meaning.LOST


async def test_what_waits_for_a_thread_in_vain_was_never_sent(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faulty.blobs, "_timeout_s", 1.0)
    released = Event()
    faulty.proxy.add("GET", holds(released), times=THREADS)
    reading = [asyncio.ensure_future(faulty.blobs.get("name")) for _ in range(THREADS)]
    await asyncio.sleep(0)
    try:
        with pytest.raises(StoreUnavailable, match="no thread was free"):
            await faulty.blobs.put("name", CONTENT)
        assert faulty.asked("PUT") == 0
        answers = await asyncio.gather(*reading, return_exceptions=True)
    finally:
        released.set()

    assert {type(answer) for answer in answers} == {StoreUnavailable}


async def test_closing_does_not_wait_for_repetitions(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "PAUSE_S", 19.0)
    monkeypatch.setattr(requests, "PAUSE_S_MAX", 19.0)
    refused = Event()
    faulty.proxy.add("PUT", tells(refused, answers(503, "SlowDown")), times=100)
    putting = [asyncio.ensure_future(faulty.blobs.put(f"{n}", CONTENT)) for n in range(8)]
    await asyncio.to_thread(refused.wait, 20)

    async with asyncio.timeout(5):
        await faulty.blobs.close()

    assert {type(answer) for answer in await asyncio.gather(*putting, return_exceptions=True)} == {StoreUnavailable}
    assert faulty.asked("PUT") < 8 * MANY
