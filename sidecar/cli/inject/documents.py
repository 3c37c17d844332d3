"""A YAML file of several documents, of which some are changed: the others stay byte for byte.

Of a changed document the order, the quotes and the comments before it stay; comments within it do not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

# A document mark is at the start of a line, and cannot stand there within anything else.
_MARK = re.compile(r"^(?=---(?:\s|\Z))", re.MULTILINE)
_HEAD = re.compile(r"(?:---[ \t]*(?:#.*)?\r?\n)?(?:[ \t]*(?:#.*)?\r?\n)*")
# Text to PyYAML's reader, and numbers or truth to others.
_AMBIGUOUS = re.compile(r"[-+.\d][-+.:\da-fA-F_xXoO]*|[yYnN]")


class _Dumper(yaml.SafeDumper):
    """Strings that some reader takes for something else are quoted."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style='"' if _AMBIGUOUS.fullmatch(text) else None
    ),
)


def split(text: str) -> list[str]:
    """The documents of a file, each with its mark; together they are the file."""
    return [part for part in _MARK.split(text) if part]


def load(document: str) -> Any:
    """The content. Raises ValueError, with the line in the document."""
    try:
        return yaml.safe_load(document)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{line}{error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error).splitlines()[0]) from None


def rewritten(document: str, have: Any, want: Any) -> str:
    """The document, of which `have` is the content, with the content `want`."""
    if have == want:
        return document
    matched = _HEAD.match(document)
    head = matched[0] if matched else ""
    if document.startswith("---") and not head.startswith("---"):
        head = f"---\n{head}"
    node = _grafted(_composed(document), have, want)
    return head + yaml.serialize(node, Dumper=_Dumper, width=math.inf, allow_unicode=True)


def differences(have: Any, want: Any, path: str = "") -> Iterator[str]:
    """What has to change, a line each, by its path: `spec.containers[app].env[TARGET]: is missing`."""
    if isinstance(have, dict) and isinstance(want, dict):
        for key, value in want.items():
            where = f"{path}.{key}" if path else str(key)
            if key not in have:
                yield f"{where}: is missing"
            else:
                yield from differences(have[key], value, where)
        yield from (f"{path}.{key}: has to go" for key in have if key not in want)
    elif isinstance(have, list) and isinstance(want, list):
        yield from _items_differences(have, want, path)
    elif have != want:
        yield f"{path}: has to be {want}"


def _items_differences(have: list[Any], want: list[Any], path: str) -> Iterator[str]:
    for index, item in enumerate(want):
        name = item.get("name", index) if isinstance(item, dict) else item
        found = _match(have, want, index)
        if found is None:
            yield f"{path}[{name}]: is missing"
        else:
            yield from differences(have[found], item, f"{path}[{name}]")


def _match(have: list[Any], want: list[Any], index: int) -> int | None:
    """Which item of `have` became the one at `index` of `want`: an equal one, else that of its name or place."""
    item = want[index]
    if item in have:
        return have.index(item)
    if isinstance(item, dict) and "name" in item:
        names = [other.get("name") if isinstance(other, dict) else None for other in have]
        return names.index(item["name"]) if item["name"] in names else None
    return index if len(have) == len(want) else None


def _grafted(node: yaml.Node, have: Any, want: Any) -> yaml.Node:
    """The node with what has changed in it made anew, a line for each thing in it; all else keeps its style."""
    if have == want:
        return node
    if isinstance(node, yaml.MappingNode) and isinstance(want, dict):
        pairs = {key.value: (key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)}
        # Not with merge keys (<<) and such, where the node is not what is in the content.
        if pairs.keys() == have.keys():
            grafted = [
                (pairs[key][0], _grafted(pairs[key][1], have[key], value))
                if key in have
                else (_made(key), _made(value))
                for key, value in want.items()
            ]
            return yaml.MappingNode(node.tag, grafted, flow_style=False)
    if isinstance(node, yaml.SequenceNode) and isinstance(want, list):
        places = [_match(have, want, index) for index in range(len(want))]
        grafted_items = [
            _made(item) if place is None else _grafted(node.value[place], have[place], item)
            for place, item in zip(places, want, strict=True)
        ]
        return yaml.SequenceNode(node.tag, grafted_items, flow_style=False)
    return _made(want)


def _made(value: Any) -> yaml.Node:
    return _composed(yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=math.inf))


def _composed(document: str) -> yaml.Node:
    node = yaml.compose(document, yaml.SafeLoader)
    assert node is not None, "only documents with content are changed"
    return node
