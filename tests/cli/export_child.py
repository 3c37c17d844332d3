"""`state-sidecar export` that ends itself by SIGKILL at its Nth step, for every N up to the one where it is finished.

    python -m tests.cli.export_child FOLDER ARGUMENTS...

Goes on from a copy of FOLDER/template in FOLDER/N each time; every second one is killed in its resumption, too. A step is
the beginning, the middle or the end of a change of the place. The processes are forks of one that has imported all.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from sidecar.cli import main as program
from sidecar.cli.export import bar, job, pages, place  # noqa: F401  # imported before the forks

STEPS_MAX = 500


class Dying(place.Place):
    """Counts what it does, and ends its process at one of its steps."""

    left = 0

    def replace(self, name: str, content: bytes) -> None:
        self._step()
        super().replace(name, content)
        self._step()

    @contextmanager
    def create(self, name: str) -> Iterator[Any]:
        self._step()
        with super().create(name) as sink:
            yield sink
            self._step()
        self._step()

    def remove(self, name: str) -> None:
        self._step()
        super().remove(name)
        self._step()

    @classmethod
    def _step(cls) -> None:
        cls.left -= 1
        if cls.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    root, arguments = Path(sys.argv[1]), sys.argv[2:]
    place.Place = Dying  # type: ignore[misc]  # for this process
    for number in count(1):
        assert number < STEPS_MAX
        to = root / f"{number}"
        shutil.copytree(root / "template", to)
        command = [*arguments, "--to", f"file://{to}"]
        if not _killed(command, number):
            print(number)
            return
        if number % 2:
            _killed(command, number % 7 + 2)


def _killed(command: list[str], steps: int) -> bool:
    child = os.fork()
    if not child:
        Dying.left = steps
        sys.stdout = sys.stderr
        program(command)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


if __name__ == "__main__":
    main()
