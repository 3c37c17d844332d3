"""Writes the tables of README.md and docs (settings, adapters, metrics) from the code, or fails if they are not what it says.

    python tools/docs_tables.py --write | --check

A table stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. What the code cannot say (what a setting is for, what
to do about an error) is in tools/docs_texts.py; a setting or error without its text, or a text without its setting, fails.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import docs_adapters
import docs_texts as texts
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from sidecar.core import errors
from sidecar.core.policy import PRESETS, Kind
from sidecar.rpc.status import CODES
from sidecar.runtime.settings import Settings
from sidecar.runtime.settings_access import IdentitySettings
from sidecar.runtime.settings_sections import NamespaceSettings
from sidecar.telemetry.instruments import INSTRUMENTS

ROOT = Path(__file__).resolve().parent.parent
PAGES = tuple(ROOT / name for name in ("README.md", "docs/settings.md", "docs/adapters/README.md", "docs/metrics.md"))
TABLE = re.compile(r"(<!-- begin (\w+) -->\n)(.*?)(<!-- end \2 -->)", re.DOTALL)
_SCALES = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms"))


def main(arguments: list[str]) -> int:
    """0: fresh, or written. 1: stale, each page named. 2: usage."""
    if arguments not in (["--write"], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    stale = 0
    for page in PAGES:
        before = page.read_text()
        after = TABLE.sub(lambda match: match[1] + TABLES[match[2]]() + match[4], before)
        if after != before and arguments == ["--write"]:
            page.write_text(after)
        elif after != before:
            stale = 1
            print(f"{page.relative_to(ROOT)} is stale: run `python tools/docs_tables.py --write`", file=sys.stderr)
    return stale


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(columns)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def presets() -> str:
    """Every kind of namespace, with what its policy says."""
    rows = [
        (
            f"`{kind}`",
            texts.KINDS[kind],
            f"{policy.authority}",
            "none"
            if policy.ttl_ms is None
            else f"{_span(policy.ttl_ms)}{' after its last use' if policy.sliding else ', fixed'}",
            f"{policy.on_outage}",
        )
        for kind, policy in PRESETS.items()
    ]
    return _table(("kind", "for", "authority", "expiry", "`on_outage`"), rows)


def error_table() -> str:
    """Every error that the daemon raises, with its reasons as the code has them."""
    found = dict(raised_reasons())
    _same("errors", {kind.__name__ for kind in CODES}, set(texts.ERRORS))
    rows = []
    for kind, code in CODES.items():
        reasons = sorted({reason for other, own in found.items() if issubclass(other, kind) for reason in own})
        name = f"{code.name} or DEADLINE_EXCEEDED" if kind is errors.OutcomeUnknown else code.name
        python, advice = texts.ERRORS[kind.__name__]
        rows.append((name, f"`{python}`", ", ".join(f"`{reason}`" for reason in reasons), advice))
    return _table(("code", "in Python", "reasons", "what to do"), rows)


def raised_reasons() -> Iterator[tuple[type[errors.SidecarError], set[str]]]:
    """For each class of `sidecar.core.errors`, the reasons that the daemon's code gives it."""
    kinds = {kind.__name__: kind for kind in vars(errors).values() if _is_error(kind)}
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "sidecar").rglob("*.py")):
        tree = ast.parse(path.read_text())
        constants = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name in kinds:
                given = next((keyword.value for keyword in call.keywords if keyword.arg == "reason"), None)
                told = set(_texts(given, constants)) if given else {kinds[name].default_reason}
                found.setdefault(name, set()).update(told)
    yield from ((kinds[name], reasons) for name, reasons in found.items() if reasons)


def _is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, errors.SidecarError) and kind is not errors.SidecarError


def _texts(node: ast.expr, constants: dict[str, ast.expr]) -> Iterator[str]:
    """The strings that an expression can be; none for one that is only known when it runs."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=other):
            yield from _texts(body, constants)
            yield from _texts(other, constants)
        case ast.Name(id=name) if name in constants:
            yield from _texts(constants[name], {})


def commands() -> str:
    """Every target of the Makefile."""
    targets = re.findall(r"^([a-z-]+):.*?## (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return _table(("command", "does"), ((f"`make {name}`", text.replace("|", "\\|")) for name, text in targets))


def settings() -> str:
    """Every setting with its default."""
    rows = list(_settings(Settings, ""))
    _same("settings", {name for name, _ in rows}, set(texts.SETTINGS))
    return _table(
        ("setting", "default", "what it is"), ((f"`{name}`", default, texts.SETTINGS[name]) for name, default in rows)
    )


def common_settings() -> str:
    """Those that are set most often."""
    defaults = dict(_settings(Settings, ""))
    rows = ((f"`{name}`", defaults[name], texts.SETTINGS[name]) for name in texts.COMMON_SETTINGS)
    return _table(("setting", "default", "what it is"), rows)


def _settings(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in section.model_fields.items():
        dotted = f"{prefix}{field.alias or name}"
        if dotted == "namespaces":
            yield from _settings(NamespaceSettings, "namespaces.NAME.")
        elif dotted == "auth.identities":
            yield from _settings(IdentitySettings, "auth.identities.NAME.")
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, f"{dotted}.")
        elif dotted in texts.DEFAULTS:
            yield dotted, texts.DEFAULTS[dotted]
        elif prefix.startswith("namespaces.") and _differs(dotted):
            yield dotted, "of its kind"
        else:
            yield dotted, _value(name, field.get_default(call_default_factory=True))


def _differs(dotted: str) -> bool:
    """Whether the presets have different values for a key of a namespace."""
    names = dotted.split(".")[2:]
    values = set()
    for policy in PRESETS.values():
        value: Any = policy
        for name in names:
            value = getattr(value, f"{name}_ms" if hasattr(value, f"{name}_ms") else name, None)
        values.add(value)
    return len(values) > 1


def _value(name: str, value: Any) -> str:
    """A default as it can be written."""
    assert value is not PydanticUndefined, f"{name} has no default"
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if name.endswith("_s"):
        return f"`{_span(int(value * 1000))}`"
    if name.endswith("bytes_max") or name == "large_value_bytes":
        return f"`{value // 1024**2}MiB`"
    if name in {"ttl", "ttl_max", "max_age", "archive_after"}:
        return f"`{_span(value)}`"
    return f"`{value}`"


def _span(milliseconds: int) -> str:
    scale, unit = next((scale, unit) for scale, unit in _SCALES if milliseconds % scale == 0)
    return f"{milliseconds // scale}{unit}"


def _same(what: str, coded: set[str], told: set[str]) -> None:
    if missing := coded - told:
        raise SystemExit(f"{what} without a text in tools/docs_texts.py: {', '.join(sorted(missing))}")
    if stray := told - coded:
        raise SystemExit(f"texts in tools/docs_texts.py for {what} that are gone: {', '.join(sorted(stray))}")


def capabilities() -> str:
    """What each adapter claims."""
    columns = ("URL", "as", "durable", "shared", "transactions", "prefixes", "changes", "largest value")
    return _table(columns, docs_adapters.rows())


def metrics() -> str:
    """Every instrument."""
    rows = (
        (
            f"`{one.exposed}`",
            f"{one.form}",
            re.sub(r"[{}]", "", one.unit) if one.unit != "1" else "",
            ", ".join(f"`{label}`" for label in one.labels),
            one.meaning,
        )
        for one in INSTRUMENTS
    )
    return _table(("in Prometheus", "type", "unit", "labels", "meaning"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "presets": presets,
    "errors": error_table,
    "commands": commands,
    "settings": settings,
    "common_settings": common_settings,
    "capabilities": capabilities,
    "metrics": metrics,
}
assert texts.KINDS.keys() == set(Kind)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
