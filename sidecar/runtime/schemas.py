"""From the `schema` sections of the settings to the steps that the engine takes values through.

A step is `module:function` (it only leads up), or a mapping of `up` and `down`, each `module:function` or a list of
operations (`core/schema_steps.py`). Modules are imported when the settings are read, so that what is wrong with them is
told with everything else that is.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from sidecar.core.policy import Kind, OnOutage, SchemaPolicy
from sidecar.core.schema import Schemas, Step
from sidecar.core.schema_steps import Operations, read
from sidecar.runtime.settings_sections import NamespaceSettings
from sidecar.runtime.settings_sources import Key, Problem

FORMS = "write module:function, or a mapping of up and down"
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(slots=True)
class _Steps:
    """The steps as they were read, and what is wrong with them."""

    steps: list[Step] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def schemas(policies: Mapping[str, SchemaPolicy]) -> dict[str, Schemas]:
    """The schemas of every namespace that has some. The settings were checked: see `problems`."""
    return {name: _schemas(policy) for name, policy in policies.items() if policy.version}


def _schemas(policy: SchemaPolicy) -> Schemas:
    found = _read(policy)
    assert not found.problems, found.problems
    return Schemas(policy.version - len(found.steps), tuple(found.steps))


def problems(name: str, namespace: NamespaceSettings) -> Iterator[Problem]:
    """What is wrong with a namespace's `schema`."""
    policy, path = namespace.policy(name), ("namespaces", name, "schema")
    schema, migrations = policy.schema, (*path, "migrations")
    if schema.version and name == Kind.DEFAULT:
        text = "a schema is one namespace's, and default stands for every one that isn't configured: name yours"
        yield Problem((*path, "version"), text)
    if len(schema.migrations) > schema.version:
        text = (
            f"{len(schema.migrations)} steps lead to {schema.version}: the last leads to schema.version, and each of the "
            "others to one less"
        )
        yield Problem(migrations, text, ((*path, "version"),))
        return
    yield from (Problem(migrations, text) for text in _read(schema).problems)
    if schema.migrations and policy.on_outage is OnOutage.BUFFER:
        text = "steps need the authority, and buffer writes without it: set on_outage to passthrough or reject"
        yield Problem(migrations, text, (_at(name, "on_outage"), _at(name, "kind")))


def warnings(name: str, namespace: NamespaceSettings, *, in_redis: bool) -> Iterator[str]:
    """What is allowed, and probably not meant. `in_redis`: a hot tier that is an authority is one."""
    schema, at = namespace.policy(name).schema, f"namespaces.{name}.schema"
    if schema.migrations and in_redis:
        yield (
            f"{at}.migrations: an authority on Redis keeps values in the schema they were written in: steps work when they "
            "are read, and `migrate` can do nothing"
        )
    for number, step in enumerate(_read(schema).steps, schema.version - len(schema.migrations)):
        if step.down is None:
            yield (
                f"{at}.migrations: the step {number} -> {number + 1} has no way back: what is written in schema {number + 1} "
                f"can't be read by who knows {number}"
            )


def _at(name: str, setting: str) -> Key:
    return ("namespaces", name, setting)


# ---- one step


def _read(schema: SchemaPolicy) -> _Steps:
    found = _Steps()
    base = schema.version - len(schema.migrations)
    for number, given in enumerate(schema.migrations, base):
        said = f"step {number} -> {number + 1}"
        up, down = given, None
        if isinstance(given, Mapping):
            if not ({"up"} <= set(given) <= {"up", "down"}):
                found.problems.append(f"{said}: needs up, may have down, and nothing else")
                continue
            up, down = given["up"], given.get("down")
        elif not isinstance(given, str):
            found.problems.append(f"{said}: {FORMS}")
            continue
        forth = _way(up, f"{said}, up", found.problems)
        back: Callable[[Any], Any] | None = forth.back() if isinstance(forth, Operations) else None
        if down is not None:
            back = _way(down, f"{said}, down", found.problems)
        if forth is not None:
            found.steps.append(Step(forth, back))
    return found


def _way(given: Any, said: str, wrong: list[str]) -> Callable[[Any], Any] | None:
    if isinstance(given, str):
        try:
            return _function(given)
        except ValueError as exc:
            wrong.append(f"{said}: {exc}")
            return None
    if not isinstance(given, Sequence) or not given:
        wrong.append(f"{said}: write module:function, or a list of operations")
        return None
    operations, found = read(given)
    wrong += [f"{said}: {problem}" for problem in found]
    return operations


def _function(name: str) -> Callable[[Any], Any]:
    if not _FUNCTION.fullmatch(name):
        raise ValueError(f"{name!r} is not module:function")
    module, _, path = name.partition(":")
    try:
        value: Any = import_module(module)
    except Exception as exc:  # an operator's module: whatever it raises is told
        raise ValueError(f"{module} can't be imported: {type(exc).__name__}: {exc}") from exc
    for part in path.split("."):
        if (value := getattr(value, part, None)) is None:
            raise ValueError(f"{module} has no {path}")
    if not callable(value) or inspect.iscoroutinefunction(value):
        raise ValueError(f"{name} is not a plain function")
    try:
        inspect.signature(value).bind(None)
    except TypeError:
        raise ValueError(f"{name} does not take a document alone") from None
    except ValueError:
        pass  # of a builtin that doesn't tell
    function: Callable[[Any], Any] = value
    return function
