"""What an operator hears of a bucket that can't be used, and what the probe finds out about a server."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from servers.base import free_ports, shared
from servers.rclone import CREDENTIALS as RCLONE_CREDENTIALS
from servers.rclone import Rclone
from servers.seaweedfs import BUCKET, READER, Seaweedfs
from sidecar.core.errors import StoreUnavailable
from sidecar.runtime.ports import SystemClock
from sidecar.stores.s3.blobs import S3Blobs
from sidecar.stores.s3.target import S3Target, parse_target
from tests.stores.s3.faults import FaultProxy, answers, answers_late, changes
from tests.support.clock import ManualClock


async def refusal(target: S3Target, *, timeout_s: float = 10.0) -> str:
    """Why it can't be opened: one line, which names the bucket and no secret."""
    blobs = S3Blobs(target, clock=SystemClock(), timeout_s=timeout_s)
    with pytest.raises(StoreUnavailable) as caught:
        await blobs.open()
    await blobs.close()
    message = caught.value.message
    assert message.startswith(f"{target}: ")
    assert "\n" not in message
    assert "secret" not in message
    return message


async def listed(blobs: S3Blobs) -> list[str]:
    return [name async for name in blobs.names()]


async def test_the_probe_leaves_nothing(target: S3Target, blobs: S3Blobs) -> None:
    whole_bucket = S3Blobs(replace(target, prefix=""), clock=SystemClock(), timeout_s=20)
    await whole_bucket.open()
    await blobs.put("name", b"")

    assert [name for name in await listed(whole_bucket) if "probe" in name] == []
    await whole_bucket.close()


async def test_a_server_that_ignores_conditions_is_refused_and_left_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    server = shared(Rclone)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", RCLONE_CREDENTIALS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", RCLONE_CREDENTIALS[1])
    target = S3Target(bucket=BUCKET, prefix="cold", endpoint_url=server.endpoint_url, path_style=True)

    assert "ignores If-None-Match" in await refusal(target)
    assert [path for path in (server.directory / "data").rglob("*") if path.is_file()] == []


async def test_a_server_that_does_not_implement_conditions_is_refused(proxy: FaultProxy, target: S3Target) -> None:
    proxy.add("PUT", answers(501, "NotImplemented"))

    assert "does not implement conditional writes" in await refusal(through(proxy, target))


async def test_a_server_that_changes_contents_is_refused(proxy: FaultProxy, target: S3Target) -> None:
    proxy.add("GET", lambda deliver: deliver())
    proxy.add("GET", changes(bytes.upper))

    assert "does not keep" in await refusal(through(proxy, target))


async def test_the_probe_is_made_once(proxy: FaultProxy, target: S3Target) -> None:
    blobs = S3Blobs(through(proxy, target), clock=SystemClock(), timeout_s=20)
    await blobs.open()
    asked = len(proxy.requests)
    await blobs.open()
    await blobs.get("name")

    assert len(proxy.requests) == asked + 1
    await blobs.close()


async def test_a_missing_bucket(target: S3Target) -> None:
    message = await refusal(replace(target, bucket="no-such-bucket", create=False))

    assert message.endswith("there is no bucket no-such-bucket: make it, correct its name, or add create=true")


async def test_a_missing_bucket_is_made_if_that_is_wanted(target: S3Target) -> None:
    made = replace(target, bucket="made-by-us", create=True)
    for _ in range(2):
        blobs = S3Blobs(made, clock=SystemClock(), timeout_s=20)
        await blobs.open()
        await blobs.put("name", b"")
        await blobs.close()


async def test_a_bucket_that_another_process_makes_at_the_same_time(proxy: FaultProxy, target: S3Target) -> None:
    proxy.add("GET", answers(404, "NoSuchBucket"))
    proxy.add("PUT", answers(409, "BucketAlreadyOwnedByYou"))
    blobs = S3Blobs(through(proxy, target), clock=SystemClock(), timeout_s=20)

    await blobs.open()
    await blobs.close()


async def test_credentials_that_may_not_write(target: S3Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER[1])

    assert (await refusal(target)).endswith("access denied to PutObject: allow these credentials s3:PutObject")


@pytest.mark.parametrize(("key", "secret"), [("nobody", "secret"), ("test", "wrong-secret")])
async def test_credentials_that_are_wrong(
    target: S3Target, monkeypatch: pytest.MonkeyPatch, key: str, secret: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)

    assert "the credentials are not accepted: check AWS_ACCESS_KEY_ID" in await refusal(target)


async def test_credentials_that_are_missing(target: S3Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "none"))

    assert "there are no credentials: set AWS_ACCESS_KEY_ID" in await refusal(target)


async def test_a_profile_that_is_missing(target: S3Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "none")

    assert "AWS_PROFILE" in await refusal(target)


async def test_a_port_where_nobody_listens(target: S3Target) -> None:
    endpoint_url = f"http://127.0.0.1:{free_ports(1)[0]}"

    assert f"{endpoint_url} can't be reached" in await refusal(replace(target, endpoint_url=endpoint_url))


async def test_a_host_that_does_not_exist(target: S3Target) -> None:
    message = await refusal(replace(target, endpoint_url="http://no-such-host.invalid:9000"))

    assert "no-such-host.invalid" in message


@pytest.mark.parametrize("body", ["<html>welcome</html>", ""])
@pytest.mark.parametrize("status", [200, 404])
async def test_an_endpoint_that_is_no_s3(proxy: FaultProxy, target: S3Target, body: str, status: int) -> None:
    for method in ("GET", "PUT", "HEAD", "DELETE"):
        proxy.add(method, answers(status, body=body), times=100)

    assert (await refusal(through(proxy, target))).endswith("is it an S3 endpoint?")


async def test_another_region_is_named(proxy: FaultProxy, target: S3Target) -> None:
    told = answers(
        400,
        body="<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>eu-west-9</Region></Error>",
    )
    proxy.add("GET", told, times=100)

    assert (await refusal(through(proxy, target))).endswith("set region=eu-west-9")


async def test_an_expired_token_and_a_wrong_clock_are_named(proxy: FaultProxy, target: S3Target) -> None:
    proxy.add("GET", answers(400, "ExpiredToken"))
    assert "expired" in await refusal(through(proxy, target))

    proxy.add("GET", answers(403, "RequestTimeTooSkewed"))
    assert "clock" in await refusal(through(proxy, target))


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_proxy(authority: trustme.CA) -> Iterator[FaultProxy]:
    """A server whose certificate is for its address."""
    with FaultProxy(shared(Seaweedfs).endpoint_url, tls=_context(authority, "127.0.0.1")) as proxy:
        yield proxy


async def test_tls_with_a_known_authority(
    tls_proxy: FaultProxy, target: S3Target, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _trust(authority, tmp_path, monkeypatch)
    blobs = S3Blobs(through(tls_proxy, target), clock=SystemClock(), timeout_s=20)

    await blobs.open()

    assert await blobs.put("name", bytes(3 << 20))
    assert await blobs.get("name") == bytes(3 << 20)
    await blobs.close()


async def test_tls_with_an_unknown_authority(tls_proxy: FaultProxy, target: S3Target) -> None:
    message = await refusal(through(tls_proxy, target))

    assert message.endswith("not signed by a known authority: set AWS_CA_BUNDLE to the authority's file")


async def test_tls_for_another_name(
    target: S3Target, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _trust(authority, tmp_path, monkeypatch)
    with FaultProxy(shared(Seaweedfs).endpoint_url, tls=_context(authority, "other.example")) as proxy:
        message = await refusal(through(proxy, target))

    assert message.endswith("its certificate is for another name: correct the host in endpoint_url")


async def test_tls_with_a_server_that_has_none(target: S3Target) -> None:
    plain = shared(Seaweedfs).endpoint_url

    message = await refusal(replace(target, endpoint_url=plain.replace("http://", "https://")))

    assert message.endswith("it does not speak TLS: is endpoint_url http://?")


async def test_a_bucket_that_can_not_be_used_is_tried_once_a_second(proxy: FaultProxy, target: S3Target) -> None:
    clock = ManualClock()
    blobs = S3Blobs(through(proxy, target), clock=clock)
    proxy.add("GET", answers(403, "AccessDenied"), times=2)
    with pytest.raises(StoreUnavailable):
        await blobs.open()
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="access denied"):
            await blobs.get("name")
    assert len(proxy.requests) == 1

    clock.advance(1_000)
    with pytest.raises(StoreUnavailable, match="access denied"):
        await blobs.put("name", b"")
    assert len(proxy.requests) == 2

    clock.advance(1_000)
    assert await blobs.put("name", b"")
    await blobs.close()


async def test_opening_again_tries_at_once(proxy: FaultProxy, target: S3Target) -> None:
    blobs = S3Blobs(through(proxy, target), clock=ManualClock())
    proxy.add("GET", answers(403, "AccessDenied"))
    with pytest.raises(StoreUnavailable):
        await blobs.open()

    await blobs.open()
    await blobs.close()


async def test_a_put_of_the_probe_whose_answer_is_lost_is_no_verdict(proxy: FaultProxy, target: S3Target) -> None:
    proxy.add("PUT", answers_late(500))
    proxy.add("PUT", answers(503, "SlowDown"))
    blobs = S3Blobs(through(proxy, target), clock=SystemClock(), timeout_s=20)

    await blobs.open()
    await blobs.close()


async def test_without_opening_nothing_is_asked(target: S3Target) -> None:
    blobs = S3Blobs(target, clock=SystemClock())

    with pytest.raises(StoreUnavailable, match="not open"):
        await blobs.get("name")


def through(proxy: FaultProxy, target: S3Target) -> S3Target:
    """The same place by way of the proxy."""
    return replace(target, endpoint_url=proxy.endpoint_url)


def test_the_targets_of_these_tests_are_what_a_url_says(target: S3Target) -> None:
    url = f"s3://{target.bucket}/{target.prefix}?endpoint_url={target.endpoint_url}&create=true"

    assert parse_target(url) == target


def _context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def _trust(authority: trustme.CA, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(directory / "ca.pem"))
