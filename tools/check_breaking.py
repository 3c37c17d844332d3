"""Fails if the protos break those of the branch `main`, or, on `main` itself, those of the commit before.

Says so, and passes, where there is nothing to compare with.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
REFERENCES = ("origin/main", "main", "HEAD~1")


def main() -> int:
    """buf's exit code, 0 where there is nothing to compare with."""
    head = _git("rev-parse", "HEAD").stdout
    known = [name for name in REFERENCES if _git("rev-parse", "--verify", "--quiet", name).returncode == 0]
    earlier = [name for name in known if _git("rev-parse", name).stdout != head]
    dirty = bool(_git("status", "--porcelain", "protos").stdout)
    before = known[0] if dirty and known else next(iter(earlier), None)
    archive = _git("archive", before, "protos") if before else None
    if archive is None or archive.returncode:
        print("nothing to compare the protos with", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        buf = Path(sys.executable).parent / "buf"
        environment = os.environ | {"HOME": folder}
        against = ["breaking", "protos", "--against", f"{folder}/protos"]
        return subprocess.run([buf, *against], cwd=ROOT, env=environment, check=False).returncode


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
