from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from sidecar.engine.outbox import OutboxConfig
from sidecar.runtime import settings_sections, sinks
from sidecar.runtime.settings import Settings, SettingsError, load_settings
from sidecar.runtime.settings_sections import OutboxSettings
from sidecar.sinks import LIBRARIES, TARGETS
from tests.support.clock import ManualClock

URLS = {
    "redis": "redis://user:hunter2@host:1/0?stream=events&maxlen=1000",
    "rediss": "rediss://:hunter2@host:1",
    "redis+sentinel": "redis+sentinel://:hunter2@one:1,two:2/primary/0?maxlen=10",
    "http": "http://user:hunter2@host:1/path/hunter2?mode=binary&timeout=5&sig=hunter2",
    "https": "https://host/path?code=hunter2",
    "sqs": "sqs://queue.fifo?region=eu-central-1&account=123456789012",
    "sns": "sns://arn:aws:sns:eu-central-1:123456789012:topic?endpoint_url=http://host:1",
    "nats": "nats://user:hunter2@one:1,two:2?stream=S&subject_prefix=a.b",
    "tls": "tls://hunter2@one:1?stream=S&ca_file=/ca.pem",
    "kafka": "kafka://user:hunter2@one:1,two:2?topic_prefix=a.&tls=true&mechanism=SCRAM-SHA-512&ca_file=/ca.pem",
}


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(*overrides: str) -> list[str]:
    with pytest.raises(SettingsError) as told:
        load_settings(None, overrides, {})
    return told.value.problems


def test_the_numbers_are_the_engine_s() -> None:
    assert sinks.config(load_settings(None, [], {})) == OutboxConfig()


def test_every_number_can_be_set() -> None:
    changed = ("in_flight_max=7", "attempts_max=3", "retry_delay_s=2s", "lease_s=9s", "poll_interval_s=100ms")
    overrides = [f"outbox.{each}" for each in (*changed, "pending_max=5", "dead_letter_retention_s=1d")]

    assert sinks.config(load_settings(None, overrides, {})) == OutboxConfig(
        in_flight_max=7,
        attempts_max=3,
        retry_delay_s=2.0,
        lease_s=9.0,
        poll_interval_s=0.1,
        pending_max=5,
        dead_letter_retention_s=86_400.0,
    )


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("in_flight_max=0", "above 0"),
        ("in_flight_max=10001", "at most 10000"),
        ("attempts_max=0", "above 0"),
        ("attempts_max=1001", "at most 1000"),
        ("retry_delay_s=61s", "at most 60"),
        ("lease_s=999ms", "at least 1"),
        ("lease_s=301s", "at most 300"),
        ("poll_interval_s=9ms", "at least 0.01"),
        ("poll_interval_s=61s", "at most 60"),
        ("pending_max=0", "above 0"),
        ("dead_letter_retention_s=0", "above zero"),
    ],
)
def test_every_number_has_its_bound(setting: str, said: str) -> None:
    [problem] = refused(f"outbox.{setting}")

    assert problem.startswith(f"outbox.{setting.partition('=')[0]}")
    assert said in problem


@pytest.mark.parametrize("scheme", TARGETS)
def test_every_scheme_is_taken_for_all_and_for_a_namespace(scheme: str) -> None:
    settings = load_settings(
        None, [f"outbox.sink={URLS[scheme]}", f"namespaces.a.outbox.sink={URLS[scheme]}", "namespaces.b.ttl=1h"], {}
    )

    built = sinks.sinks(settings, ManualClock())

    assert built.default is not None
    assert built.default.batch_max > 0
    assert built.named == {"a": built.default}, "equal URLs are one sink"


def test_without_a_sink_messages_wait_for_consumers() -> None:
    for given in ([], ["outbox.sink=none"]):
        assert sinks.sinks(load_settings(None, given, {}), ManualClock()) == sinks.Sinks(default=None, named={})


def test_a_namespace_may_have_its_own_or_none() -> None:
    given = [
        f"outbox.sink={URLS['http']}",
        f"namespaces.a.outbox.sink={URLS['https']}",
        "namespaces.b.outbox.sink=none",
    ]
    built = sinks.sinks(load_settings(None, given, {}), ManualClock())

    assert built.named.keys() == {"a", "b"}
    assert built.named["b"] is None
    assert None not in (built.default, built.named["a"])
    assert built.named["a"] is not built.default


def test_a_sink_is_no_part_of_the_policy() -> None:
    settings = load_settings(None, ["namespaces.a.outbox.sink=none", "namespaces.a.ttl=1h"], {})

    assert settings.policy_table().of("a").ttl_ms == 3_600_000


@pytest.mark.parametrize("scheme", TARGETS)
def test_a_url_is_never_shown_with_what_may_be_secret(scheme: str) -> None:
    settings = load_settings(None, [f"outbox.sink={URLS[scheme]}", f"namespaces.a.outbox.sink={URLS[scheme]}"], {})

    shown = sinks.shown_sinks(settings)

    assert shown[""] == shown["a"]
    assert shown[""].startswith(f"{scheme}://")
    assert "hunter2" not in f"{shown} {settings!r} {sinks.sinks(settings, ManualClock())}"


def test_what_is_shown_without_a_sink() -> None:
    assert sinks.shown_sinks(load_settings(None, ["namespaces.a.outbox.sink=none"], {})) == {"": "none", "a": "none"}


@pytest.mark.parametrize("scheme", TARGETS)
@pytest.mark.parametrize("rest", ["user:hunter2@?#[::colour=red", "user:hunter2@host:1/a?unknown-hunter2=1", ""])
def test_a_wrong_url_is_refused_without_repeating_its_secret(scheme: str, rest: str) -> None:
    if scheme in ("http", "https") and rest.endswith("=1"):
        rest = "user:hunter2@host:x"  # other parameters go out with it
    with pytest.raises(ValidationError) as caught:
        OutboxSettings.model_validate({"sink": f"{scheme}://{rest}"})

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["hunter2", "ftp://hunter2", "", "none://", "NONE"])
def test_what_is_no_sink_is_told_which_there_are(url: str) -> None:
    [problem] = refused(f'outbox.sink="{url}"')

    assert problem.startswith("outbox.sink")
    assert "kafka://" in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize("scheme", TARGETS)
def test_a_sink_whose_library_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    library, extra = LIBRARIES[TARGETS[scheme]]
    monkeypatch.setattr(settings_sections, "find_spec", lambda name: None if name == library else object())

    for setting in ("outbox.sink", "namespaces.a.outbox.sink"):
        [problem] = refused(f"{setting}={URLS[scheme]}")
        assert problem.startswith(setting)
        assert f"install state-sidecar[{extra}]" in problem


@pytest.mark.parametrize(
    "authority",
    [
        ["namespaces.a.authority=hot"],
        ["namespaces.a.kind=system"],
        ["tiers.warm=none://"],
    ],
)
def test_a_sink_for_a_namespace_in_redis_is_refused(authority: list[str]) -> None:
    given = ["tiers.hot=redis://host", f"namespaces.a.outbox.sink={URLS['https']}", *authority]

    [problem] = refused(*given)

    assert problem.startswith("namespaces.a.outbox.sink")
    assert "set authority to warm" in problem
    given[1] = "namespaces.a.outbox.sink=none"
    load_settings(None, given, {})
    given[:2] = ["tiers.hot=memory://", f"namespaces.a.outbox.sink={URLS['https']}"]
    load_settings(None, given, {})


def test_a_sink_for_all_where_all_is_in_redis_is_a_warning() -> None:
    given = [f"outbox.sink={URLS['https']}", "tiers.warm=none://"]

    assert "outbox.sink has no effect" in "".join(load_settings(None, [*given, "tiers.hot=redis://host"], {}).warnings)
    assert "outbox.sink" not in "".join(load_settings(None, given, {}).warnings)
    assert Settings().warnings == []
