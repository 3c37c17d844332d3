"""`python -m tests.image`: the image in `dist/`, built twice without an engine, and its figures.

The archive is OCI's, for `podman load` or `skopeo copy`. Its base is of Debian's packages, without a shell.
"""

from __future__ import annotations

import json
import sys
import tarfile
import time
from pathlib import Path

import sidecar
from tests.image.bases import POLICY, ROOT, build_image, buildah, prepare


def main() -> int:
    """Exit code 1 where the second build is another image than the first."""
    tag = f"state-sidecar:{sidecar.__version__}"
    archive = ROOT / "dist" / f"state-sidecar-{sidecar.__version__}.oci.tar"
    archive.parent.mkdir(exist_ok=True)
    archive.unlink(missing_ok=True)
    prepare()
    first, first_s = _timed_build(tag)
    buildah("push", "--quiet", "--signature-policy", POLICY, tag, f"oci-archive:{archive}:{tag}")
    unpacked_bytes = json.loads(buildah("images", "--json", first))[0]["size"]
    buildah("rmi", first)
    second, second_s = _timed_build(tag)
    buildah("rmi", second)
    print(f"image       {archive.relative_to(ROOT)}, {_manifest_digest(archive)}")
    print(f"size        {archive.stat().st_size / 1e6:.0f} MB compressed, {unpacked_bytes} unpacked")
    print(f"built in    {first_s:.0f} s, and again in {second_s:.0f} s")
    print(f"the same    {'yes' if first == second else f'no: {first} and {second}'}")
    return 0 if first == second else 1


def _timed_build(tag: str) -> tuple[str, float]:
    start = time.monotonic()
    return build_image(tag), time.monotonic() - start


def _manifest_digest(archive: Path) -> str:
    with tarfile.open(archive) as files:
        index = files.extractfile("index.json")
        assert index is not None
        digest: str = json.load(index)["manifests"][0]["digest"]
    return digest


if __name__ == "__main__":
    sys.exit(main())
