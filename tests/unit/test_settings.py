from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from sidecar.core.limits import Limits
from sidecar.core.policy import PRESETS, Kind
from sidecar.runtime.settings import NamespaceSettings, Settings, SettingsError, load_settings


def problems(*, file: str = "", overrides: tuple[str, ...] = (), environ: dict[str, str] | None = None) -> list[str]:
    """What load_settings refuses; the file is ./state.yaml."""
    Path("state.yaml").write_text(file)
    with pytest.raises(SettingsError) as refused:
        load_settings(Path("state.yaml"), overrides, environ or {})
    assert str(refused.value) == "\n".join(refused.value.problems)
    return refused.value.problems


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_defaults_are_the_contract_s(directory: Path) -> None:
    settings = load_settings(None, [], {})

    data = directory / ".state-sidecar"
    assert settings.data_dir == data
    assert settings.listen_addresses() == ["127.0.0.1:7420", f"unix://{data}/state.sock"]
    assert settings.http_listen == "127.0.0.1:7421"
    urls = settings.tier_urls()
    assert (urls.hot, urls.warm, urls.cold) == ("memory://", f"sqlite://{data}/state.db", f"file://{data}/cold")
    assert settings.request_limits() == Limits()
    assert settings.policy_table().of("session") == PRESETS[Kind.SESSION]
    assert settings.policy_table().of("anything") == PRESETS[Kind.DEFAULT]
    assert settings.warnings == []


def test_only_the_environment_handed_in_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_SIDECAR_APP", "leaked")
    monkeypatch.setenv("STATE_SIDECAR_CONFIG", "/nonexistent.yaml")

    assert load_settings(None, [], {}).app == ""
    assert Settings().app == ""


@pytest.mark.parametrize(
    ("with_file", "with_environment", "with_override", "app"),
    [
        (False, False, False, ""),
        (True, False, False, "file"),
        (True, True, False, "environment"),
        (True, True, True, "override"),
        (True, False, True, "override"),
        (False, True, False, "environment"),
    ],
)
def test_an_override_wins_over_the_environment_over_the_file(
    directory: Path, with_file: bool, with_environment: bool, with_override: bool, app: str
) -> None:
    config = directory / "state.yaml"
    config.write_text("app: file\nlimits: {labels_max: 3}\n")

    settings = load_settings(
        config if with_file else None,
        ["app=override"] if with_override else [],
        {"STATE_SIDECAR_APP": "environment"} if with_environment else {},
    )

    assert settings.app == app
    assert settings.limits.labels_max == (3 if with_file else 64)


def test_sources_are_laid_over_each_other_key_by_key(directory: Path) -> None:
    config = directory / "state.yaml"
    config.write_text("namespaces: {chat: {kind: session, ttl: 1h, sliding: false}}")

    settings = load_settings(
        config,
        ["namespaces.chat.value_bytes_max=1KiB"],
        {"STATE_SIDECAR_NAMESPACES__CHAT__TTL": "2h", "STATE_SIDECAR_TIERS__WARM": "memory://"},
    )

    policy = settings.policy_table().of("chat")
    assert (policy.kind, policy.ttl_ms, policy.sliding, policy.value_bytes_max) == (
        Kind.SESSION,
        7_200_000,
        False,
        1024,
    )
    assert settings.tier_urls().warm == "memory://"


def test_every_setting_of_the_environment_table_is_read(directory: Path) -> None:
    (directory / "state.yaml").write_text("log_level: warning")

    settings = load_settings(
        None,
        [],
        {
            "STATE_SIDECAR_CONFIG": "state.yaml",
            "STATE_SIDECAR_APP": "shop",
            "STATE_SIDECAR_DATA_DIR": "/var/lib/state",
            "STATE_SIDECAR_LISTEN": "127.0.0.1:1, [::1]:2 ,unix:///run/state.sock",
            "STATE_SIDECAR_HTTP_LISTEN": "",
            "STATE_SIDECAR_TIERS__HOT": "none://",
            "STATE_SIDECAR_TIERS__WARM": "sqlite://state.db",
            "STATE_SIDECAR_TIERS__COLD": "none://",
        },
    )

    assert (settings.log_level, settings.app, settings.http_listen) == ("warning", "shop", "")
    assert settings.data_dir == Path("/var/lib/state")
    assert settings.listen_addresses() == ["127.0.0.1:1", "[::1]:2", "unix:///run/state.sock"]
    urls = settings.tier_urls()
    assert (urls.hot, urls.warm, urls.cold) == ("none://", f"sqlite://{directory}/state.db", "none://")


def test_config_wins_over_the_variable_that_names_a_file(directory: Path) -> None:
    (directory / "a.yaml").write_text("app: a")

    assert load_settings(Path("a.yaml"), [], {"STATE_SIDECAR_CONFIG": "missing.yaml"}).app == "a"


def test_every_problem_of_every_source_is_listed_at_once() -> None:
    listed = problems(
        file="""
            app: shop
            namspaces: {}
            tiers: {wram: "memory://"}
            listen: ["127.0.0.1", "unix:relative"]
            namespaces:
              chat: {kind: sesion, ttl: 30x, on_outage: buffer, schema: {version: 3, migrations: [a.py]}}
              jobs: {sliding: true, checkpoint: 3, history: 2}
            limits: {page_size_default: 5000}
            grace_period_s: -2
        """,
        overrides=("tiers.warm=postgresql://user:secret@host/", "nonsense", "requests_max=1.5"),
        environ={
            "STATE_SIDECAR_NAMESPACES__CHAT__NEAR__ENABLED": "perhaps",
            "STATE_SIDECAR_TIERS__HOT": "etcd://h",
            "STATE_SIDECAR_LOG_LEVEL": "loud",
        },
    )

    hot = "memory://, redis://, rediss://, redis+cluster://, redis+sentinel://, memcached://, none://"
    forms = "write 30m, 90s, 1h30m, 500ms, PT30M or a number of seconds; or none, for without end"
    assert sorted(listed) == sorted(
        [
            "--set nonsense: write --set key=value, such as tiers.warm=memory://",
            "namspaces (state.yaml): no such setting: did you mean namespaces?",
            "tiers.wram (state.yaml): no such setting: did you mean warm?",
            "tiers.warm (--set): name the database: postgresql://user@host:port/database",
            f"tiers.hot (STATE_SIDECAR_TIERS__HOT): etcd:// is no hot tier; known are {hot}",
            "listen (state.yaml): '127.0.0.1' is not host:port, such as 127.0.0.1:7420 or [::1]:7420",
            "listen (state.yaml): 'unix:relative' is not unix:///path, with an absolute path of a socket",
            "namespaces.chat.kind (state.yaml): must be 'session', 'process', 'model', 'system' or 'default'",
            f"namespaces.chat.ttl (state.yaml): '30x' is not a duration: {forms}",
            "namespaces.chat.schema.migrations (state.yaml): step 2 -> 3, up: 'a.py' is not module:function",
            "namespaces.chat.near.enabled (STATE_SIDECAR_NAMESPACES__CHAT__NEAR__ENABLED): must be true or false",
            "namespaces.jobs.sliding (state.yaml): sliding needs a ttl: set one",
            "namespaces.jobs.checkpoint (state.yaml): must be a mapping of settings",
            "namespaces.jobs.history (state.yaml): history is not in this release: leave it out",
            "limits.page_size_default (state.yaml): 5000 is above page_size_max, 1000",
            "grace_period_s (state.yaml): -2 is not above zero",
            "requests_max (--set): must be a whole number",
            "log_level (STATE_SIDECAR_LOG_LEVEL): must be 'debug', 'info', 'warning' or 'error'",
        ]
    )


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (
            "namespaces: {a: {ttl: 2d}}\nlimits: {ttl_max: 1d}",
            "namespaces.a.ttl (state.yaml): 172800 s is above limits.",
        ),
        (
            "{namespaces: {a: {value_bytes_max: 16MiB}}, limits: {message_bytes_max: 16MiB}}",
            "namespaces.a.value_bytes_max (state.yaml): 16777216 does not fit",
        ),
        (
            "{namespaces: {a: {archive_after: 7d}}, tiers: {cold: 'none://'}}",
            "namespaces.a.archive_after (state.yaml): archive_after moves values",
        ),
        (
            "{namespaces: {a: {archive_after: 7d}}, tiers: {warm: 'memory://'}}",
            "namespaces.a.archive_after (state.yaml): archive_after moves values",
        ),
        (
            "namespaces: {a: {kind: system, archive_after: 7d}}",
            "namespaces.a.archive_after (state.yaml): archive_after moves values",
        ),
        (
            "namespaces: {a: {large_value_bytes: 0}}",
            "namespaces.a.large_value_bytes (state.yaml): must be above 0",
        ),
        (
            "namespaces: {a: {authority: hot}}\ntiers: {hot: 'none://'}",
            "namespaces.a.authority (state.yaml): the authority",
        ),
        (
            "namespaces: {a: {authority: warm}}\ntiers: {warm: 'none://'}",
            "namespaces.a.authority (state.yaml): the authority",
        ),
        ("limits: {page_bytes_max: 32MiB}", "limits.page_bytes_max (state.yaml): 33554432 is above message_bytes_max"),
        ("http_listen: 127.0.0.1:7420", "http_listen (state.yaml): 127.0.0.1:7420 is taken by listen"),
        ("http_listen: 7421", "http_listen (state.yaml): must be text: put it in quotes"),
        ("listen: []", "listen (state.yaml): no address"),
        ("listen: ['127.0.0.1:1', '127.0.0.1:1']", "listen (state.yaml): the same address twice"),
        ("namespaces: {'': {}}", "namespaces (state.yaml): the key '' is not text"),
        ('namespaces: {"a\\tb": {}}', "namespaces.'a\\tb' (state.yaml): namespace holds a control character"),
        ("cache_bytes_max: 0", "cache_bytes_max (state.yaml): must be above 0"),
        ("tiers: {warm: 'sqlite://'}", "tiers.warm (state.yaml): sqlite:// needs a path after it"),
        ("tiers: {hot: 'memory://x'}", "tiers.hot (state.yaml): memory:// takes no more than that"),
        ("tiers: {hot: 'sqlite:///x'}", "tiers.hot (state.yaml): sqlite:// is no hot tier"),
        (
            "tiers: {cold: 's3://b/p'}",
            "tiers.cold (state.yaml): a bucket's name has 3 to 63 letters, digits, dots and dashes; the URL has the form s3",
        ),
        ("tiers: {cold: cold}", "tiers.cold (state.yaml): not a URL: write one of file://, s3://, none://"),
        ("tiers: {x: 1}", "tiers.x (state.yaml): no such setting; known here are cold, hot, warm"),
        ("namespaces: {a: {near: {agee: 1}}}", "namespaces.a.near.agee (state.yaml): no such setting"),
        (
            "namespaces: {a: {near: {maxage: 1}}}",
            "namespaces.a.near.maxage (state.yaml): no such setting: did you mean max_age?",
        ),
        ("tiers: warm", "tiers (state.yaml): must be a mapping of settings"),
    ],
)
def test_a_problem_names_the_setting_and_what_is_wrong(file: str, problem: str) -> None:
    (found,) = problems(file=file)

    assert found.startswith(problem)


def test_a_setting_that_is_wrong_itself_makes_no_second_problem() -> None:
    listed = problems(file="namespaces: {a: {ttl: soon, sliding: true}}\nlimits: 3\n")

    assert [line.partition(" ")[0] for line in listed] == ["namespaces.a.ttl", "limits"]


def test_a_password_in_a_url_is_never_repeated() -> None:
    assert "secret" not in "".join(problems(file="tiers: {warm: 'postgresql://u:secret@h/db', hot: 'x://u:secret@h'}"))


def test_a_null_leaves_the_default() -> None:
    Path("state.yaml").write_text("tiers: {warm: null}\nnamespaces: {session: {ttl: }}\napp:\n")

    settings = load_settings(Path("state.yaml"), [], {})

    assert settings.policy_table().of("session").ttl_ms == 1_800_000
    assert settings.tier_urls().warm.startswith("sqlite://")


def test_settings_built_in_python_are_checked_as_a_whole(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", listen=["127.0.0.1:0"], http_listen="")

    assert settings.listen_addresses() == ["127.0.0.1:0"]
    assert not (tmp_path / "data").exists()
    with pytest.raises(ValidationError, match=r"namespaces\.a\.sliding: sliding needs a ttl"):
        Settings(namespaces={"a": NamespaceSettings(sliding=True)})


def test_what_kubernetes_injects_for_a_service_is_silent_and_a_typing_error_is_not() -> None:
    service = dict.fromkeys(
        [
            "STATE_SIDECAR_SERVICE_HOST",
            "STATE_SIDECAR_SERVICE_PORT",
            "STATE_SIDECAR_SERVICE_PORT_GRPC",
            "STATE_SIDECAR_PORT",
            "STATE_SIDECAR_PORT_7420_TCP",
            "STATE_SIDECAR_PORT_7420_TCP_ADDR",
            "STATE_SIDECAR_PORT_7420_TCP_PORT",
            "STATE_SIDECAR_PORT_7420_TCP_PROTO",
            "STATE_SIDECAR_HTTP_SERVICE_HOST",
            "STATE_SIDECAR_TARGET",
            "STATE_SIDECAR_TOKEN_FILE",
            "STATE_SIDECAR_TLS_CA",
            "STATE_SIDECARS",
        ],
        "tcp://10.0.0.1:7420",
    )

    assert load_settings(None, [], service).warnings == []
    assert load_settings(None, [], service | {"STATE_SIDECAR_DATADIR": "x", "STATE_SIDECAR_ZZZ": ""}).warnings == [
        "STATE_SIDECAR_DATADIR is no setting and is ignored: did you mean data_dir?",
        "STATE_SIDECAR_ZZZ is no setting and is ignored",
    ]


def test_what_is_allowed_and_has_no_effect_is_a_warning() -> None:
    settings = load_settings(
        None, ["tiers.hot=none://", "namespaces.a.reconcile=merge", "namespaces.a.near.enabled=true"], {}
    )

    assert [warning.partition(":")[0] for warning in settings.warnings] == [
        "tiers.hot is none",
        "namespaces.a.reconcile has no effect",
        "namespaces.a.near.enabled has no effect",
    ]


def test_automatic_checkpoints_of_an_authority_on_redis_are_a_warning() -> None:
    asked = ["tiers.hot=redis://r", "namespaces.a.checkpoint.every=2", "namespaces.b.authority=hot"]
    hot = [*asked, "namespaces.b.checkpoint.every=2"]

    assert load_settings(None, ["namespaces.a.checkpoint.every=2"], {}).warnings == []
    assert load_settings(None, asked, {}).warnings == []
    [told] = load_settings(None, hot, {}).warnings
    assert told.startswith("namespaces.b.checkpoint.every has no effect")


@pytest.mark.parametrize(
    ("hot", "warm", "warning"),
    [
        ("none://", "none://", "nothing is kept, and every answer is PASSTHROUGH"),
        ("memory://", "none://", "the hot tier keeps every namespace, and acknowledged writes are VOLATILE"),
        ("none://", "memory://", "the warm tier keeps every namespace, also those with authority hot"),
    ],
)
def test_what_a_tier_left_out_means_is_a_warning(hot: str, warm: str, warning: str) -> None:
    (told,) = load_settings(None, [f"tiers.hot={hot}", f"tiers.warm={warm}"], {}).warnings

    assert told.endswith(warning)


def long_path(directory: Path, socket_bytes: int) -> Path:
    """A data directory whose state.sock has a path of that many bytes."""
    return directory / ("d" * (socket_bytes - len(os.fsencode(directory)) - len("//state.sock")))


def test_a_default_socket_whose_path_is_too_long_is_left_out_with_a_warning(directory: Path) -> None:
    fits = Settings(data_dir=long_path(directory, 107))
    too_long = Settings(data_dir=long_path(directory, 108))

    assert len(fits.listen_addresses()) == 2
    assert too_long.listen_addresses() == too_long.listen_addresses() == ["127.0.0.1:7420"]
    (warning,) = too_long.warnings
    assert "its path has 108 bytes and at most 107 are possible" in warning


def test_a_socket_asked_for_whose_path_is_too_long_is_a_problem(directory: Path) -> None:
    address = f"unix://{long_path(directory, 108)}/state.sock"

    assert problems(overrides=(f"listen={address}",)) == [
        "listen (--set): the socket's path has 108 bytes and at most 107 are possible: choose a shorter one"
    ]


def test_a_default_socket_whose_directory_cannot_be_made_is_left_out_with_a_warning(directory: Path) -> None:
    (directory / "file").write_text("")

    settings = Settings(data_dir=directory / "file" / "data")

    assert settings.listen_addresses() == ["127.0.0.1:7420"]
    assert "Not a directory" in settings.warnings[0]
