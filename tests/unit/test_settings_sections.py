from __future__ import annotations

import pytest
from pydantic import ValidationError

from sidecar.core.limits import Limits
from sidecar.core.policy import PRESETS, Authority, CheckpointPolicy, Kind, NearPolicy, OnOutage, PolicyTable
from sidecar.runtime import settings_sections
from sidecar.runtime.settings import NamespaceSettings, Settings, load_settings
from sidecar.runtime.settings_sections import SCHEMES, TierSettings


def test_a_policy_is_the_preset_of_its_kind_with_what_is_set() -> None:
    settings = Settings(
        namespaces={
            "session": NamespaceSettings(ttl=60),
            "jobs": NamespaceSettings.model_validate(
                {"kind": "process", "checkpoint": {"keep": 3}, "on_outage": "passthrough", "ttl": "PT1H"}
            ),
            "counters": NamespaceSettings.model_validate({"kind": "system", "ttl": "none", "schema": {"version": 2}}),
            "default": NamespaceSettings(value_bytes_max=10),
        }
    )

    table = settings.policy_table()
    assert isinstance(table, PolicyTable)
    assert (table.of("session").sliding, table.of("session").ttl_ms) == (True, 60_000)
    assert table.of("jobs").checkpoint == CheckpointPolicy(every=5, keep=3)
    assert (table.of("jobs").on_outage, table.of("jobs").ttl_ms) == (OnOutage.PASSTHROUGH, 3_600_000)
    assert (table.of("counters").authority, table.of("counters").ttl_ms) == (Authority.HOT, None)
    assert table.of("counters").schema.version == 2
    assert table.of("not configured").value_bytes_max == 10


def test_limits_take_sizes_and_durations() -> None:
    settings = load_settings(None, ["limits.ttl_max=30d", "limits.message_bytes_max=8MiB", "limits.items_max=7"], {})

    assert settings.request_limits() == Limits(ttl_ms_max=30 * 86_400_000, message_bytes_max=8 << 20, items_max=7)


def test_a_message_has_room_for_the_largest_value_unless_its_bound_is_set() -> None:
    large = ["namespaces.media.value_bytes_max=64MiB"]

    assert load_settings(None, large, {}).request_limits().message_bytes_max == 65 << 20
    assert (
        load_settings(None, [*large, "limits.message_bytes_max=128MiB"], {}).request_limits().message_bytes_max
        == 128 << 20
    )
    assert load_settings(None, ["namespaces.a.value_bytes_max=8KiB"], {}).request_limits() == Limits()


def test_what_is_kept_in_cold_is_a_policy_and_a_warning_where_nothing_can_be() -> None:
    set_ = [
        "namespaces.a.large_value_bytes=64KiB",
        "namespaces.a.archive_after=7d",
        "namespaces.b.large_value_bytes=none",
    ]
    table = load_settings(None, set_, {}).policy_table()

    assert (table.of("a").large_value_bytes, table.of("a").archive_after_ms) == (64 << 10, 7 * 86_400_000)
    assert (table.of("b").large_value_bytes, table.of("c").large_value_bytes) == (None, 1 << 20)
    assert load_settings(None, set_, {}).warnings == []
    assert "large_value_bytes has no effect" in "".join(
        load_settings(None, [set_[0], "tiers.cold=none://"], {}).warnings
    )
    short = load_settings(None, ["namespaces.session.archive_after=10m"], {}).warnings
    assert "archive_after has no effect" in "".join(short)


@pytest.mark.parametrize("kind", Kind)
def test_a_namespace_with_nothing_set_is_its_preset(kind: Kind) -> None:
    assert NamespaceSettings().policy(kind.value) == PRESETS[kind]
    assert NamespaceSettings(kind=kind).policy("other") == PRESETS[kind]
    assert NamespaceSettings().policy("other") == PRESETS[Kind.DEFAULT]


def test_a_section_that_is_set_keeps_the_preset_s_other_keys() -> None:
    namespace = NamespaceSettings.model_validate({"kind": "model", "near": {"max_age": "1s"}})

    assert namespace.policy("x").near == NearPolicy(enabled=True, max_age_ms=1000)


URLS = {
    "sqlite": "sqlite://path",
    "file": "file://path",
    "redis+cluster": "redis+cluster://one:1,two:2",
    "redis+sentinel": "redis+sentinel://one:1,two:2/primary",
    "memcached": "memcached://one:1,two:2",
    "postgresql": "postgresql://user:secret@host:5432/database",
    "dynamodb": "dynamodb://table?region=eu-central-1",
    "s3": "s3://bucket/prefix",
}


@pytest.mark.parametrize(("tier", "scheme"), [(tier, scheme) for tier in SCHEMES for scheme in SCHEMES[tier]])
def test_every_scheme_of_the_contract_is_taken(tier: str, scheme: str) -> None:
    bare = scheme in {"memory", "none"}
    url = URLS.get(scheme, f"{scheme}://{'' if bare else 'host:1'}")

    assert getattr(TierSettings.model_validate({tier: url}), tier) == url


@pytest.mark.parametrize(
    ("tier", "scheme"),
    [(tier, scheme) for tier in SCHEMES for scheme in SCHEMES[tier] if scheme not in {"sqlite", "file"}],
)
def test_a_wrong_url_is_refused_without_repeating_its_secret(tier: str, scheme: str) -> None:

    with pytest.raises(ValidationError) as caught:
        TierSettings.model_validate({tier: f"{scheme}://user:hunter2@?#[::colour=red"})

    assert "hunter2" not in str(caught.value)


def test_overrides_change_what_they_name() -> None:
    policy = NamespaceSettings(kind=Kind.SESSION, ttl=1).policy("mine")

    assert (policy.ttl_ms, policy.sliding, policy.kind) == (1000, True, Kind.SESSION)
    assert PRESETS[Kind.SESSION].ttl_ms == 30 * 60 * 1000


@pytest.mark.parametrize(
    ("tier", "url", "library", "extra"),
    [
        ("warm", "postgresql://host/database", "psycopg", "postgres"),
        ("warm", "dynamodb://table", "botocore", "aws"),
        ("cold", "s3://bucket", "botocore", "aws"),
        ("hot", "redis://host", "hiredis", "redis"),
    ],
)
def test_a_backend_whose_library_is_missing_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tier: str, url: str, library: str, extra: str
) -> None:
    monkeypatch.setattr(settings_sections, "find_spec", lambda name: None if name == library else object())

    with pytest.raises(ValidationError, match=rf"install state-sidecar\[{extra}\]"):
        TierSettings.model_validate({tier: url})
