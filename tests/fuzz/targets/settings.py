"""Settings out of a file, the environment and `--set`. Only SettingsError may come out, with a line for each problem.

What is accepted can be used: its policies, limits, schemas and URLs are there without another error.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sidecar.runtime.settings import Settings, load_settings
from sidecar.runtime.settings_sources import PREFIX, SettingsError
from tests.fuzz.drawing import Draw

_SHM = Path("/dev/shm")
_FOLDER = tempfile.TemporaryDirectory(dir=_SHM if _SHM.is_dir() else None)
_FILE = Path(_FOLDER.name) / "settings.yaml"
_FILE_TEXT = b"""\
app: shop
listen: [127.0.0.1:7420, unix:///run/state.sock]
tiers: {hot: redis://127.0.0.1:6379, warm: postgresql://u:secret@db/state, cold: s3://bucket/prefix}
namespaces:
  session: {ttl_s: 3600, reconcile: merge, value_bytes_max: 1MiB}
auth:
  tokens: /run/tokens
  identities: {shop: {namespaces: ["shop-*"], methods: [read], quota: {ops_per_s: 5}}}
"""


def _names(model: type[BaseModel], depth: int = 0) -> Iterator[str]:
    """Dotted names of settings, those of a mapping's sections under the name `x`."""
    for name, info in model.model_fields.items():
        told = info.alias or name
        yield told
        kinds = [info.annotation, *getattr(info.annotation, "__args__", ())]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel) and depth < 4:
                between = "" if kind is info.annotation else "x."
                yield from (
                    f"{told}.{inner}" for known in [between] for inner in (known + n for n in _names(kind, depth + 1))
                )


_NAMES = list(_names(Settings))


def seeds() -> Iterator[bytes]:
    yield b"\0" + _FILE_TEXT
    yield b"\0a: &a [*a]\nb: {<<: *a}\n"
    yield b"\0tiers: &a {hot: *a}\n"
    yield b"\0" + b"{a: " * 90
    yield from (bytes([1, index]) + b"\x05hello" for index in range(len(_NAMES)))
    for text in (
        b"1",
        b"1e400",
        b"-1",
        b"5 MiB",
        b"true",
        b'["a"]',
        b'{"a":{}}',
        b"redis://:p@[::1",
        b"~x",
        b"sqlite://~",
    ):
        yield bytes([1, 3]) + bytes([len(text)]) + text
    yield b"\2\4TIER\2{}"


def check(data: bytes) -> None:
    draw = Draw(data)
    match draw.number() % 3:
        case 0:
            _FILE.write_bytes(draw.rest())
            _load(_FILE, [], {})
        case 1:
            given = [(draw.one_of(_NAMES), draw.text()) for _ in range(3)]
            _load(None, [f"{name}={text}" for name, text in given if text], {})
            _load(None, [], {_variable(name): text for name, text in given if text and "\0" not in text})
        case _:
            environ = {PREFIX + draw.text().upper(): draw.chunk().decode("utf-8", "surrogateescape") for _ in range(2)}
            environ.pop(f"{PREFIX}CONFIG", None)
            _load(None, [draw.text(), draw.rest().decode("utf-8", "surrogateescape")], environ)


def _variable(name: str) -> str:
    return PREFIX + name.upper().replace(".", "__")


def _told(error: SettingsError) -> None:
    assert error.problems
    assert all(error.problems)


def _load(config: Path | None, overrides: list[str], environ: dict[str, str]) -> None:
    try:
        settings: Any = load_settings(config, overrides, environ)
    except SettingsError as error:
        _told(error)
        return
    settings.policy_table()
    settings.request_limits()
    settings.schemas()
    settings.tier_urls().shown()
    assert isinstance(settings.warnings, list)
