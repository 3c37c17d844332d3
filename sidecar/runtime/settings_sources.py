"""Where settings come from, and how a problem with one is told: its dotted name, its source, what to do.

Sources are laid over each other leaf by leaf. A null is the same as leaving the key out: an empty line in a file must not
turn a ttl off.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from typing_extensions import override

PREFIX = "STATE_SIDECAR_"
FILE_BYTES_MAX = 4 * 1024 * 1024
# Not settings: the file's name, and what the command line's client reads.
_NOT_SETTINGS = frozenset({"config", "target", "token_file", "tls_ca", "tls_certificate", "tls_key"})
# Kubernetes puts these into every pod for a Service called state-sidecar, or state-sidecar-something.
_SERVICE_LINK = re.compile(r"(.*_)?(service_host|service_port(_.+)?|port(_\d+_(tcp|udp|sctp)(_(proto|port|addr))?)?)")

_SURROGATE = re.compile(r"[\ud800-\udfff]")

_TEXTS = {
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "model_type": "must be a mapping of settings",
    "dict_type": "must be a mapping of settings",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text: put it in quotes",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}

Key = tuple[str, ...]


class SettingsError(Exception):
    """The daemon cannot start on these settings; `problems` has one line for each thing that is wrong."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a setting, and the other settings that it is compared with."""

    path: Key
    text: str
    involved: tuple[Key, ...] = ()

    def follows_from(self, problems: Iterable[Problem]) -> bool:
        """Whether one of the settings compared, or its section, is itself among the problems."""
        broken = {problem.path for problem in problems if problem.path}
        return any(
            path[:length] in broken for path in (self.path, *self.involved) for length in range(1, len(path) + 1)
        )


@dataclass(slots=True)
class Sources:
    """All sources laid over each other, and where each value is from."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Key, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def put(self, path: Key, value: Any, origin: str) -> None:
        """Lays one value over what is there."""
        section = self.values
        for name in path[:-1]:
            inner = section.get(name)
            if not isinstance(inner, dict):
                inner = section[name] = {}
            section = inner
        section[path[-1]] = value
        self.origins[path] = origin

    def origin(self, path: Key) -> str:
        """Where the setting is from: its own source, or that of what encloses it, or of something in it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        inner = [origin for known, origin in self.origins.items() if known[: len(path)] == path]
        return inner[-1] if inner and path else "default"

    def line(self, problem: Problem) -> str:
        """A problem for a person."""
        name = ".".join(part if part.isprintable() else ascii(part) for part in problem.path)
        origin = self.origin(problem.path)
        return f"{name} ({origin}): {problem.text}" if name else problem.text

    def without(self, problems: Iterable[Problem]) -> dict[str, Any]:
        """The values less those that the problems are about."""
        left: dict[str, Any] = copy.deepcopy(self.values)
        for problem in problems:
            section: Any = left
            for name in problem.path[:-1]:
                section = section.get(name) if isinstance(section, dict) else None
            if isinstance(section, dict):
                section.pop(problem.path[-1], None)
        return left


def read(config: Path | None, overrides: Sequence[str], environ: Mapping[str, str], known: frozenset[str]) -> Sources:
    """The file, then the environment, then the overrides; `known` are the names of the top level."""
    sources = Sources()
    named = environ.get(f"{PREFIX}CONFIG", "")
    if config is not None or named:
        origin = "--config" if config is not None else f"{PREFIX}CONFIG"
        _read_file(sources, config if config is not None else Path(named), origin)
    for name in sorted(environ):
        if name.startswith(PREFIX):
            _read_variable(sources, name, environ[name], known)
    for assignment in overrides:
        key, separator, text = assignment.partition("=")
        path = tuple(key.strip().split("."))
        if not separator or not all(path):
            sources.problems.append(
                Problem((), f"--set {assignment}: write --set key=value, such as tiers.warm=memory://")
            )
        else:
            _put_all(sources, path, _decoded(text), "--set")
    return sources


def _read_file(sources: Sources, path: Path, origin: str) -> None:
    try:
        with path.open("rb") as file:
            values = _yaml(file.read(FILE_BYTES_MAX + 1))
    except OSError as error:
        sources.problems.append(Problem((), f"{path} (from {origin}): {error.strerror}"))
    except ValueError as error:
        sources.problems.append(Problem((), f"{path}: {error}"))
    else:
        try:
            _put_all(sources, (), values, str(path))
        except RecursionError:
            sources.problems.append(Problem((), f"{path}: a mapping is in itself, or too deep in others"))


def _yaml(content: bytes) -> dict[Any, Any]:
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"larger than {FILE_BYTES_MAX} bytes: this is no settings file")
    # Imported where there is a file: the daemon on defaults starts without it.
    import yaml  # noqa: PLC0415

    class Loader(yaml.SafeLoader):
        """Safe, and a key twice in one mapping is an error: the second would silently win."""

        @override
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if key.value in seen:
                        raise ValueError(f"line {key.start_mark.line + 1}: {key.value} is there twice")
                    seen.add(key.value)
            return super().construct_mapping(node, deep)

    try:
        values = yaml.load(content.decode(), Loader)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{where}not YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError):
        raise ValueError("not YAML") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError("must be a mapping of settings, such as `app: shop`")  # noqa: TRY004  # of the file's content
    return values


def _read_variable(sources: Sources, name: str, text: str, known: frozenset[str]) -> None:
    lowered = name.removeprefix(PREFIX).lower()
    path = tuple(lowered.split("__"))
    if path[0] in known and all(path):
        _put_all(sources, path, _decoded(text), name)
    elif lowered not in _NOT_SETTINGS and not _SERVICE_LINK.fullmatch(lowered):
        sources.warnings.append(f"{name} is no setting and is ignored{_guess(path[0], known)}")


def _decoded(text: str) -> Any:
    """A JSON object or array, which sets a section or list as a whole; else the text, for the setting's type to read."""
    if (text[:1], text[-1:]) in {("{", "}"), ("[", "]")}:
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _put_all(sources: Sources, path: Key, value: Any, origin: str) -> None:
    if isinstance(value, dict) and (value or not path):
        for name, inner in value.items():
            if isinstance(name, str) and name:
                _put_all(sources, (*path, name), inner, origin)
            else:
                where = f"{'.'.join(path)} ({origin})" if path else origin
                sources.problems.append(Problem((), f"{where}: the key {name!r} is not text: put it in quotes"))
    elif not all(map(_is_text, (*path, *(value if isinstance(value, list) else [value])))):
        sources.origins[path] = origin
        sources.problems.append(Problem(path, "holds a NUL character, or bytes that are not UTF-8"))
    elif value is not None:
        sources.put(path, value, origin)


def _is_text(value: Any) -> bool:
    """Whether a text is one that a file, or an address, can have; True for what is no text."""
    return not isinstance(value, str) or ("\0" not in value and not _SURROGATE.search(value))


def explain(error: ValidationError, root: type[BaseModel]) -> list[Problem]:
    """The problems that pydantic found, in our words."""
    return [Problem(_path(found["loc"]), _text(found, root)) for found in error.errors()]


def _path(loc: tuple[int | str, ...]) -> Key:
    """The setting's path: an item of a list is told as the list, a mapping's key as its entry."""
    path: list[str] = []
    for part in loc:
        if isinstance(part, int) or part == "[key]":
            break
        path.append(part)
    return tuple(path)


def _text(found: Any, root: type[BaseModel]) -> str:
    context: dict[str, Any] = found.get("ctx", {})
    kind = found["type"]
    if kind == "extra_forbidden":
        path = _path(found["loc"])
        names = sorted(_names(root, path[:-1]))
        return "no such setting" + (_guess(path[-1], names) or f"; known here are {', '.join(names)}")
    if kind == "value_error":
        return str(context["error"])
    return _TEXTS[kind].format_map(context) if kind in _TEXTS else str(found["msg"])


def _guess(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.lower(), sorted(known), n=1)
    return f": did you mean {close[0]}?" if close else ""


def _names(root: type[BaseModel], path: Key) -> Iterator[str]:
    """The names that the section at `path` takes."""
    model: type[BaseModel] | None = root
    for name in path:
        if model is not None:
            fields = {info.alias or known: info.annotation for known, info in model.model_fields.items()}
            inner = fields.get(name)
            values = getattr(inner, "__args__", ())
            # Of a mapping of sections, the values' type; the next part of the path is then the entry's own name.
            model = next(
                (kind for kind in (inner, *values) if isinstance(kind, type) and issubclass(kind, BaseModel)), model
            )
    if model is not None:
        for known, info in model.model_fields.items():
            yield info.alias or known
