"""`python -m tests.fuzz.worker TARGET FOLDER [libFuzzer's arguments]`: one target in this process, which libFuzzer ends.

FOLDER gets the seeds, and what is found on the way.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]  # it has none

from tests.fuzz.judging import judged


def main() -> None:
    """Instrument what the target imports of ours, and run it."""
    name, folder, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=["sidecar"]):
        from tests.fuzz.targets import load

        target = load(name)
    logging.disable()  # what is refused may be logged, thousands of times a second
    for number, seed in enumerate(target.seeds()):
        (Path(folder) / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *arguments, folder], lambda data: judged(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
