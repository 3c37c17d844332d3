"""Fails if the protos break those of the branch `main`. Says so, and passes, where there is no such branch to compare with."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
BRANCHES = ("origin/main", "main")


def main() -> int:
    """buf's exit code, 0 where there is nothing to compare with."""
    for branch in BRANCHES:
        archive = subprocess.run(["git", "archive", branch, "protos"], cwd=ROOT, capture_output=True, check=False)  # noqa: S607
        if archive.returncode == 0:
            break
    else:
        print("no branch main to compare the protos with", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory() as before:
        subprocess.run(["tar", "-x", "-C", before], input=archive.stdout, check=True)  # noqa: S607
        buf = Path(sys.executable).parent / "buf"
        environment = os.environ | {"HOME": before}
        against = ["breaking", "protos", "--against", f"{before}/protos"]
        return subprocess.run([buf, *against], cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
