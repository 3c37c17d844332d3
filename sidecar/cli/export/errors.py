"""What ends an export that a person has to know about."""

from __future__ import annotations

from sidecar.cli.calls import Exit


class ExportError(Exception):
    """The reason for a person, the code for the shell, and what to do next."""

    def __init__(self, message: str, *, code: Exit = Exit.INVALID, reason: str = "", advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.advice = advice
