"""What an examination found, one setting each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a finding means to an operator."""

    OK = "ok"
    NOTE = "note"
    """Allowed, and probably not meant."""
    WRONG = "wrong"
    """The message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A setting, what it names (without credentials), and what was found in a line."""

    setting: str
    subject: str
    verdict: Verdict
    message: str


def ok(setting: str, subject: str, message: str) -> Finding:
    """All is well."""
    return Finding(setting=setting, subject=subject, verdict=Verdict.OK, message=message)


def note(setting: str, subject: str, message: str) -> Finding:
    """Worth a look."""
    return Finding(setting=setting, subject=subject, verdict=Verdict.NOTE, message=message)


def wrong(setting: str, subject: str, message: str) -> Finding:
    """Has to be mended."""
    return Finding(setting=setting, subject=subject, verdict=Verdict.WRONG, message=message)
