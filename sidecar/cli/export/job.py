"""The order of an export, which keeps each row exactly once: parts become durable, then the progress that covers them.

What a run wrote after its last record is removed by the next one, which reads it again.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from sidecar.cli.calls import Exit
from sidecar.cli.export.errors import ExportError
from sidecar.cli.export.formats import Write
from sidecar.cli.export.pages import Page
from sidecar.cli.export.parts import Bounds, Parts
from sidecar.cli.export.place import Place
from sidecar.cli.export.progress import Progress, Subject, decode
from sidecar.cli.export.rows import Row
from statesidecar import StateSidecarError

_BUFFERS_A_RECORD: Final = 4
"""A record needs all that waits to be written, in small files if need be: so one for so many times the buffer."""
_PART = re.compile(r"\.?part-([0-9]{5,})\.[a-z]+(?:\.partial)?")

Shown = Callable[[int, int, int], None]
"""Told rows, bytes and parts, as they grow."""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished export; `resumed`: by a later run than began it."""

    progress: Progress
    folder: str
    resumed: bool


class Export:
    """One run. `pages` goes on after a token; empty: from the beginning."""

    def __init__(
        self,
        subject: Subject,
        *,
        place: Place,
        pages: Callable[[str], Iterator[Page]],
        write: Write,
        bounds: Bounds,
        shown: Shown,
    ) -> None:
        named = quote(subject.namespace, safe="")
        self._folder = f"namespace={named}"
        self._state = f"_state/{named}.json"
        self._subject = subject
        self._place = place
        self._pages = pages
        self._write = write
        self._bounds = bounds
        self._shown = shown
        self._parts = Parts(bounds, self._write_part)

    def run(self, *, restart: bool) -> Done:
        """Goes on with what was begun, or begins; `restart`: begins in either case.

        Raises ExportError, and what the calls of the client raise. What was begun before is kept then.
        """
        found = self._find()
        resumed = found is not None and not found.finish_time and not restart
        self._progress = self._begin(found, resumed=resumed)
        self._record()
        self._remove(lambda number: number >= self._progress.next_part)
        if not self._progress.read:
            self._read()
        self._remove(lambda number: number < self._progress.first_part)
        self._progress = replace(self._progress, finish_time=_now())
        self._record()
        return Done(self._progress, self._folder, resumed)

    def _find(self) -> Progress | None:
        """What is known of an export in this place."""
        content = self._place.read(self._state)
        if content is None:
            if any(map(_number, self._place.names(self._folder))):
                raise ExportError(
                    f"{self._folder} holds parts, and no {self._state} tells of what",
                    advice="Name another --to, or remove them.",
                )
            return None
        try:
            found = decode(content)
        except ValueError:
            raise ExportError(
                f"{self._state} is not a progress that this release can read",
                advice=f"Name another --to, or remove it together with {self._folder}.",
            ) from None
        if found.subject != self._subject:
            raise ExportError(
                f"the place is of an export of {found.subject}, not of {self._subject}",
                advice="Name another --to: one place holds one export of a namespace.",
            )
        return found

    def _begin(self, found: Progress | None, *, resumed: bool) -> Progress:
        run = secrets.token_hex(8)
        if found is not None and resumed:
            return replace(found, run=run)
        first = 0 if found is None else found.next_part if found.finish_time else found.first_part
        return Progress(subject=self._subject, run=run, start_time=_now(), first_part=first, next_part=first)

    def _read(self) -> None:
        recorded = self._progress
        unrecorded = 0
        whole = True  # What was added is what stands before `recorded.page_token`
        try:
            for page in self._pages(recorded.page_token):
                whole = False
                rows = size = 0
                for row in page.rows:
                    self._parts.add(row)
                    rows, size, unrecorded = rows + 1, size + row.size, unrecorded + row.held
                recorded = replace(
                    recorded, page_token=page.next_token, rows=recorded.rows + rows, size=recorded.size + size
                )
                whole = True
                self._shown(recorded.rows, recorded.size, self._progress.next_part - recorded.first_part)
                if unrecorded >= _BUFFERS_A_RECORD * self._bounds.buffer_bytes:
                    self._settle(recorded)
                    unrecorded = 0
        except StateSidecarError:
            if whole and recorded.page_token:
                self._settle(recorded)
            raise
        self._settle(replace(recorded, read=True))

    def _settle(self, recorded: Progress) -> None:
        """Makes durable what was read, then says so."""
        self._parts.flush()
        self._progress = replace(recorded, next_part=self._progress.next_part)
        self._still_ours()
        self._record()

    def _write_part(self, day: str, rows: list[Row]) -> None:
        self._still_ours()
        number = self._progress.next_part
        name = f"{self._folder}/date={day}/part-{number:05}.{self._subject.format}"
        with self._place.create(name) as sink:
            self._write(sink, rows)
        self._progress = replace(self._progress, next_part=number + 1)

    def _still_ours(self) -> None:
        """Two runs would give the same name to different parts: the one that began last goes on."""
        if self._owner() != self._progress.run:
            raise ExportError(
                f"another run goes on with this export: {self._state} is no more what this one wrote",
                code=Exit.CONFLICT,
                advice="Let the other one finish.",
            )

    def _owner(self) -> str | None:
        content = self._place.read(self._state)
        try:
            return None if content is None else decode(content).run
        except ValueError:
            return None

    def _record(self) -> None:
        self._place.replace(self._state, self._progress.encode())

    def _remove(self, which: Callable[[int], bool]) -> None:
        for name in self._place.names(self._folder):
            number = _number(name)
            if number is not None and which(number):
                self._place.remove(name)


def _number(name: str) -> int | None:
    match = _PART.fullmatch(name.rpartition("/")[2])
    return int(match[1]) if match else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
