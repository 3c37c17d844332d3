"""Keys of AWS KMS, asked over HTTP: what it is told, what it refuses, and what goes on without it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from botocore import exceptions as boto  # type: ignore[import-untyped]  # it has no types
from botocore.session import Session  # type: ignore[import-untyped]  # the same

from servers.base import shared
from servers.ministack import CREDENTIALS, Ministack
from sidecar.core.errors import DataLoss, FailedPrecondition, StoreUnavailable
from sidecar.stores.sealed import kms as module
from sidecar.stores.sealed.envelope import header_length
from sidecar.stores.sealed.keyring import PERIODS_HARD, RETRY_S
from sidecar.stores.sealed.kms import KmsKeys, failure
from sidecar.stores.sealed.source import KeyMissing, KeyRefused, Owner
from tests.security.keyrings import AT, PERIOD_S, keyring
from tests.support.clock import ManualClock

OWNER = Owner("shop", "session")
REGION = "eu-central-1"


class Kms(Ministack):
    """The same emulator; with another service, which has to be ready as well."""

    name = "kms"

    def environ(self) -> Mapping[str, str]:
        return {**super().environ(), "SERVICES": "dynamodb,kms"}


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def server(_credentials: None) -> Kms:
    return shared(Kms)


@pytest.fixture
def library(server: Kms) -> Iterator[Any]:
    client = Session().create_client("kms", region_name=REGION, endpoint_url=server.endpoint_url)
    yield client
    client.close()


@pytest.fixture
def arn(library: Any) -> str:
    made: str = library.create_key()["KeyMetadata"]["Arn"]
    return made


@pytest.fixture
async def source(server: Kms, arn: str) -> AsyncIterator[KmsKeys]:
    source = KmsKeys(arn, endpoint_url=server.endpoint_url)
    yield source
    await source.close()


async def test_a_value_sealed_by_one_process_opens_in_another(source: KmsKeys, arn: str) -> None:
    clock = ManualClock()
    assert source.active == ""
    keys = keyring(source, clock)
    sealed = await keys.seal("session", b"value", AT)
    assert source.active == arn
    assert keys.is_current(sealed)
    assert header_length(sealed) < 400
    cold = keyring(source, clock)
    assert await cold.open(sealed, AT, namespace="session") == b"value"
    with pytest.raises(DataLoss):
        await cold.open(sealed, AT, namespace="process")
    with pytest.raises(DataLoss):
        await keyring(source, clock, app="another").open(sealed, AT, namespace="session")


@pytest.mark.parametrize("namespace", ["\x1f", "ünï/côde", "100%", "a b", "n" * 256])
async def test_any_namespace_can_be_told_to_kms(source: KmsKeys, namespace: str) -> None:
    name, wrapped, secret = await source.new(Owner("", namespace))
    assert await source.unwrap(name, wrapped, Owner("", namespace)) == secret
    for value in module._context(Owner("", namespace)).values():
        assert value.isascii()
        assert value.isprintable()
    with pytest.raises(KeyRefused):
        await source.unwrap(name, wrapped, Owner("", quote(namespace, safe="") + "%"))


def test_the_context_tells_apps_and_namespaces_apart() -> None:
    owners = [Owner("a", "b"), Owner("", "a"), Owner("a", ""), Owner("%1F", ""), Owner("\x1f", ""), Owner("", "\x1f")]
    assert len({str(module._context(owner)) for owner in owners}) == len(owners)
    assert module._context(Owner("shop", "session/a.b-c")) == {"app": "shop", "namespace": "session/a.b-c"}


async def test_a_wrapped_key_that_was_changed_is_refused(source: KmsKeys) -> None:
    clock = ManualClock()
    sealed = await keyring(source, clock).seal("session", b"value", AT)
    # The emulator's wrapping does not authenticate its last bytes: the commitment has to tell.
    last = header_length(sealed) - 17
    for at in (last, last - 31, last - 60):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(DataLoss):
            await keyring(source, clock).open(changed, AT, namespace="session")


async def test_an_alias_moves_to_another_key_and_former_keys_open(server: Kms, library: Any, arn: str) -> None:
    clock = ManualClock()
    alias = f"alias/{arn[-12:]}"
    library.create_alias(AliasName=alias, TargetKeyId=arn)
    second: str = library.create_key()["KeyMetadata"]["Arn"]
    by_alias = f"{arn.rpartition(':')[0]}:{alias}"
    source = KmsKeys(by_alias, endpoint_url=server.endpoint_url)
    keys = keyring(source, clock)
    old = await keys.seal("session", b"old", AT)
    library.update_alias(AliasName=alias, TargetKeyId=second)
    clock.advance(int(PERIOD_S * 1000))
    new = await keys.seal("session", b"new", AT)
    assert source.active == second
    assert [keys.is_current(one) for one in (old, new)] == [False, True]
    with pytest.raises(FailedPrecondition) as missing:
        await keyring(source, clock).open(old, AT, namespace="session")
    assert missing.value.metadata["encryption_key"] == arn
    await source.close()
    source = KmsKeys(by_alias, former=[arn], endpoint_url=server.endpoint_url)
    for sealed, value in ((old, b"old"), (new, b"new")):
        assert await keyring(source, clock).open(sealed, AT, namespace="session") == value
    await source.close()


async def test_a_key_that_an_envelope_names_is_not_asked_unless_it_is_configured(
    server: Kms, library: Any, arn: str
) -> None:
    theirs: str = library.create_key()["KeyMetadata"]["Arn"]
    clock = ManualClock()
    attacker, mine = (KmsKeys(one, endpoint_url=server.endpoint_url) for one in (theirs, arn))
    forged = await keyring(attacker, clock).seal("session", b"forged", AT)
    with pytest.raises(FailedPrecondition):
        await keyring(mine, clock).open(forged, AT, namespace="session")
    # Nor does it help to say that it is of the configured key.
    renamed = forged.replace(theirs.encode(), arn.encode(), 1)
    with pytest.raises(DataLoss):
        await keyring(mine, clock).open(renamed, AT, namespace="session")
    await attacker.close()
    await mine.close()


async def test_a_service_that_ends_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.5)
    clock = ManualClock()
    with Kms() as server:
        client = Session().create_client("kms", region_name=REGION, endpoint_url=server.endpoint_url)
        source = KmsKeys(client.create_key()["KeyMetadata"]["Arn"], endpoint_url=server.endpoint_url)
        client.close()
        keys = keyring(source, clock)
        sealed = await keys.seal("session", b"value", AT)
        cold = keyring(source, clock)
        server.pause()
        with pytest.raises(StoreUnavailable, match="no answer"):
            await cold.open(sealed, AT, namespace="session")
        clock.advance(int(PERIOD_S * 1000))
        again = await keys.seal("session", b"again", AT)
        assert again[: header_length(again)] == sealed[: header_length(sealed)]
        assert await keys.open(again, AT, namespace="session") == b"again"
        server.resume()
        assert await cold.open(again, AT, namespace="session") == b"again"
        clock.advance(int(RETRY_S * 1000))
        renewed = await keys.seal("session", b"v", AT)
        assert renewed[: header_length(renewed)] != sealed[: header_length(sealed)]
        server.kill()
        clock.advance(int(PERIOD_S * 1000) * PERIODS_HARD)
        with pytest.raises(StoreUnavailable, match="no answer"):
            await keys.seal("session", b"v", AT)
        await keys.close()
        await keys.close()


async def test_what_the_library_is_answered_is_not_logged(source: KmsKeys, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        _, _, secret = await source.new(OWNER)
        assert len(secret) == 32
        assert "Plaintext" not in caplog.text


async def test_no_region_and_no_key_are_said(server: Kms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    keys = KmsKeys("alias/none", endpoint_url=server.endpoint_url)
    with pytest.raises(StoreUnavailable, match="no region is known"):
        await keys.new(OWNER)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with pytest.raises(StoreUnavailable, match="there is no such key"):
        await keys.new(OWNER)
    await keys.close()


async def test_callers_beyond_the_bound_are_told_at_once(source: KmsKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 0)
    with pytest.raises(StoreUnavailable, match="calls wait"):
        await source.new(OWNER)


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("InvalidCiphertextException", KeyRefused, "was changed"),
        ("AccessDeniedException", StoreUnavailable, "kms:Decrypt"),
        ("DisabledException", StoreUnavailable, "enable it"),
        ("KMSInvalidStateException", StoreUnavailable, "deleted"),
        ("ThrottlingException", StoreUnavailable, "ThrottlingException"),
        ("KMSInternalException", StoreUnavailable, "refuses now"),
    ],
)
def test_what_kms_refuses_is_told_without_what_it_says(code: str, kind: type[Exception], said: str) -> None:
    answer = {"Error": {"Code": code, "Message": "arn:aws:sts::1:assumed-role/secret"}, "ResponseMetadata": {}}
    error = failure(boto.ClientError(answer, "Decrypt"))
    assert isinstance(error, kind)
    assert said in str(error)
    assert "assumed-role" not in str(error)


async def test_a_key_that_did_not_wrap_is_not_here(source: KmsKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    # AWS says so with a code that the emulator does not have.
    def refuse(operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        raise failure(boto.ClientError({"Error": {"Code": "IncorrectKeyException"}}, operation))

    monkeypatch.setattr(source, "_blocking", refuse)
    with pytest.raises(KeyMissing, match="another"):
        await source.unwrap("arn:another", b"wrapped", OWNER)


def test_a_key_of_many_regions_is_one_key() -> None:
    there, here = (f"arn:aws:kms:{region}:1:key/mrk-1" for region in ("us-east-1", REGION))
    assert module._same(there, here)
    assert not module._same(there, f"{here}2")
    assert not module._same("arn:aws:kms:us-east-1:1:key/1", "arn:aws:kms:us-east-2:1:key/1")
