"""What of `tls` and `auth` is refused before any port opens, and how it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sidecar.runtime import examine_listening
from sidecar.runtime.findings import Verdict
from sidecar.runtime.locks import StartError
from sidecar.runtime.settings import Settings, SettingsError, load_settings
from tests.security.callers import ALL, Authority, write_tokens
from tests.support.daemon import running_daemon, settings

TLS: dict[str, Any] = {"certificate": "server.crt", "key": "server.key"}
MTLS = TLS | {"client_ca": "ca.crt"}
APP: dict[str, Any] = {"namespaces": ["shop"], "methods": ["read"]}
JWT = {"jwks": "jwks.json", "issuer": "https://issuer.test"}


def valid(**given: Any) -> Settings:
    """Settings as a file would give them."""
    return Settings(**given)


def problem(**given: Any) -> str:
    """What is told of settings that can't be."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # every test looks at the text
        valid(**given)
    return str(caught.value)


@pytest.mark.parametrize("address", ["0.0.0.0:7420", "[::]:7420", "192.0.2.1:7420", "host.test:7420"])
def test_beyond_loopback_tls_and_identities_are_needed(address: str) -> None:
    known = {"tokens": "tokens", "identities": {"app": APP}}
    given: dict[str, Any]
    for given in ({}, {"auth": known}):
        assert f"listen: {address} can be reached from other machines: set tls and auth" in problem(
            listen=[address], **given
        )
    for given in ({"tls": TLS}, {"tls": MTLS}, {"tls": TLS, "auth": {"identities": {"app": APP}}}):
        assert f"listen: {address} can be reached from other machines, and no caller" in problem(
            listen=[address], **given
        )

    assert valid(listen=[address], tls=TLS, auth=known).listen == [address]
    mutual = {"identities": {"app": APP | {"certificate": "app.test"}}}
    assert valid(listen=[address], tls=MTLS, auth=mutual).listen == [address]


def test_the_command_line_is_told_the_settings_name() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, ["listen=0.0.0.0:7420"], {})
    [line] = caught.value.problems
    assert line.startswith("listen (--set): 0.0.0.0:7420 can be reached from other machines")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"tls": {"certificate": "c"}}, "tls.key: TLS takes a certificate and its key"),
        ({"tls": {"key": "k"}}, "tls.certificate: TLS takes a certificate and its key"),
        ({"tls": {"client_ca": "ca"}}, "tls.certificate: TLS takes a certificate and its key"),
        ({"auth": {"jwt": {"jwks": "file"}}}, "auth.jwt.issuer: jwks needs the issuer"),
        ({"auth": {"jwt": {"issuer": "me"}}}, "auth.jwt.jwks: no keys to verify"),
        ({"auth": {"jwt": JWT | {"jwks": "http://keys.test"}}}, "https:// address"),
        ({"auth": {"jwt": JWT | {"jwks": "https://user:secret@keys.test"}}}, "credentials in an address"),
        ({"auth": {"jwt": JWT | {"algorithms": ["HS256"]}}}, "algorithms"),
        ({"auth": {"jwt": JWT | {"algorithms": ["none"]}}}, "algorithms"),
        ({"auth": {"jwt": JWT | {"algorithms": []}}}, "algorithms"),
        (
            {"auth": {"identities": {"a": {"certificate": "x"}}}},
            "auth.identities.a.certificate: nobody can be known by it",
        ),
        (
            {"auth": {"identities": {"a": {"jwt_subject": "x"}}}},
            "auth.identities.a.jwt_subject: nobody can be known by it",
        ),
        ({"auth": {"identities": {"a": {"namespaces": ["sh*p"]}}}}, "a * stands at the end"),
        ({"auth": {"identities": {"a": {"namespaces": ["**"]}}}}, "a * stands at the end"),
        ({"auth": {"identities": {"a": {"namespaces": [""]}}}}, "namespace is empty"),
        ({"auth": {"identities": {"a": {"namespaces": ["a\0b"]}}}}, "control character"),
        ({"auth": {"identities": {"a": {"methods": ["get"]}}}}, "no method and no group"),
        ({"auth": {"identities": {"a": {"methods": ["*"]}}}}, "no method and no group"),
        ({"auth": {"identities": {"a": {"quota": {"ops_per_s": 0}}}}}, "ops_per_s"),
        ({"auth": {"identities": {"": APP}}}, "identities"),
        ({"auth": {"identities": {"a": APP | {"method": ["read"]}}}}, "method"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], told: str) -> None:
    text = problem(**given)
    assert told in text
    assert "secret" not in text


def test_two_identities_are_not_one_caller() -> None:
    twice = {"a": APP | {"certificate": "x"}, "b": APP | {"certificate": "x"}}
    text = problem(tls=MTLS, auth={"identities": twice})
    assert "auth.identities.a.certificate: another identity has the same" in text
    assert "auth.identities.b.certificate" in text


def test_what_has_no_effect_is_warned_of() -> None:
    assert "is nobody" in valid(auth={"identities": {"app": APP}}).warnings[0]
    assert "every call is denied" in valid(auth={"tokens": "tokens"}).warnings[0]
    assert "only Unix sockets" in valid(tls=TLS, listen=["unix:///run/x/state.sock"]).warnings[0]
    assert valid(auth={"tokens": "tokens", "identities": {"app": APP}}).warnings == []


def test_rules_can_be_given_by_the_environment() -> None:
    environ = {
        "STATE_SIDECAR_AUTH__TOKENS": "/run/tokens",
        "STATE_SIDECAR_AUTH__IDENTITIES__APP__NAMESPACES": "shop, cart-*",
        "STATE_SIDECAR_AUTH__IDENTITIES__APP__METHODS": ",".join(ALL),
        "STATE_SIDECAR_AUTH__IDENTITIES__APP__QUOTA__BYTES_PER_S": "1MiB",
    }
    app = load_settings(None, [], environ).auth.identities["app"]

    assert (app.namespaces, app.methods, app.quota.bytes_per_s) == (("shop", "cart-*"), tuple(ALL), 1 << 20)


@pytest.mark.parametrize(
    "auth",
    [{"tokens": "missing"}, {"tokens": "wrong"}, {"jwt": JWT | {"jwks": "missing"}}, {"jwt": JWT | {"jwks": "wrong"}}],
)
async def test_files_that_cannot_be_used_stop_a_start(tmp_path: Path, auth: dict[str, Any]) -> None:
    (tmp_path / "wrong").write_text("not what it should be: secret")
    given = {
        name: str(tmp_path / value) if isinstance(value, str) else value | {"jwks": str(tmp_path / value["jwks"])}
        for name, value in auth.items()
    }
    with pytest.raises(StartError, match="auth can't be used") as caught:
        async with running_daemon(tmp_path / "data", auth=given):
            pass
    assert caught.value.exit_code == 64
    assert "secret" not in str(caught.value)


# ---- what doctor says


async def test_doctor_knows_a_daemon_that_asks_who_calls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    given: dict[str, Any] = {
        "auth": {"tokens": write_tokens(tmp_path / "tokens", "app"), "identities": {"app": APP}},
        "tls": {"certificate": certificate, "key": key, "client_ca": authority.file},
    }
    socket = f"unix://{tmp_path}/state.sock"
    async with running_daemon(tmp_path / "data", listen=["127.0.0.1:0", socket], **given) as daemon:
        same = settings(tmp_path / "data", listen=daemon.daemon.addresses, **given)
        found = await examine_listening.examine(same, timeout_s=5.0)
        other, _ = authority.issue("other")
        changed = settings(
            tmp_path / "data", listen=daemon.daemon.addresses[:1], tls=given["tls"] | {"certificate": other}
        )
        differs = await examine_listening.examine(changed, timeout_s=5.0)

    assert {finding.verdict for finding in found} == {Verdict.OK}
    assert [finding.message for finding in found][:4] == [
        "a certificate and its key",
        "1 identities may call",
        "a daemon with this certificate serves there",
        "state-sidecar serves there, and asks who calls",
    ]
    assert [(finding.setting, finding.verdict) for finding in differs[:2]] == [
        ("tls", Verdict.WRONG),
        ("listen", Verdict.WRONG),
    ]
