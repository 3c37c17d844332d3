"""Fails if the committed stubs aren't what the protos generate."""

from __future__ import annotations

import filecmp
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).parent.parent
STUBS = Path("statesidecar/v1")


def main() -> int:
    """0 if fresh."""
    protos = sorted(str(path) for path in (ROOT / "protos").rglob("*.proto"))
    includes = [f"-I{ROOT / 'protos'}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
    with tempfile.TemporaryDirectory() as out:
        outputs = [f"--{kind}={out}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
        if protoc.main(["protoc", *includes, *outputs, *protos]):
            return 1
        fresh, committed = Path(out) / STUBS, ROOT / "clients/python" / STUBS
        names = sorted({path.name for path in [*fresh.iterdir(), *committed.glob("*_pb2*")]})
        _, stale, missing = filecmp.cmpfiles(fresh, committed, names, shallow=False)
    if stale or missing:
        print(f"stale stubs: {', '.join(stale + missing)}; run `make protos`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
