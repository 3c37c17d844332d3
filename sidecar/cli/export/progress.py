"""How far an export is, as the target keeps it: enough to go on after a crash, whatever the export's size.

Parts are numbered, and no number is used twice for parts that were recorded. So two numbers tell all: parts below
`first_part` are of an earlier export, those from `next_part` on were written and not recorded.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

_FORM: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is exported, and as what. A place holds one of a namespace."""

    namespace: str
    what: str
    format: str
    prefix: str

    def __str__(self) -> str:
        below = f" below {self.prefix!r}" if self.prefix else ""
        return f"{self.what}{below} as {self.format}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """All rows before `page_token` are in parts below `next_part`."""

    subject: Subject
    #: Names the process that goes on with it.
    run: str
    start_time: str
    page_token: str = ""
    #: Nothing is left to read; the parts of an earlier export may be left to remove.
    read: bool = False
    #: Empty: not finished.
    finish_time: str = ""
    first_part: int = 0
    next_part: int = 0
    rows: int = 0
    size: int = 0

    def encode(self) -> bytes:
        """For `decode`, and for people."""
        return json.dumps({"form": _FORM, **asdict(self)}, ensure_ascii=False, indent=2).encode() + b"\n"


def decode(content: bytes) -> Progress:
    """Raises ValueError if it is no progress of ours."""
    told = json.loads(content)
    if not isinstance(told, dict) or told.pop("form", None) != _FORM:
        raise ValueError("not of this form")
    return Progress(**_checked(Progress, told) | {"subject": Subject(**_checked(Subject, told["subject"]))})


def _checked(kind: type[Progress | Subject], told: Any) -> dict[str, Any]:
    kinds = {"str": str, "int": int, "bool": bool, "Subject": dict}
    named = {field.name: kinds[str(field.type)] for field in fields(kind)}
    if not isinstance(told, dict) or {name: type(value) for name, value in told.items()} != named:
        raise ValueError("not of this form")
    return told
