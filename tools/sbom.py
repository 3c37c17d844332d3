"""`python tools/sbom.py ENVIRONMENT`: writes sbom.cdx.json into a virtual environment: what is installed in it (CycloneDX 1.6).

Standard library only: it runs in the image's build stage. The same packages give the same bytes: no time and no serial number.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

NAME = "sbom.cdx.json"
SUBJECT = "state-sidecar"


def sbom(environment: Path) -> dict[str, Any]:
    """The bill of materials: the daemon, and every other distribution of the environment as its component."""
    folders = [str(folder) for folder in environment.glob("lib/python3*/site-packages")]
    components = sorted((_component(found) for found in distributions(path=folders)), key=lambda item: item["purl"])
    (subject,) = (component for component in components if component["name"] == SUBJECT)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": subject | {"type": "application"}},
        "components": [component for component in components if component is not subject],
    }


def main() -> int:
    """Write it."""
    environment = Path(sys.argv[1])
    (environment / NAME).write_text(json.dumps(sbom(environment), indent=1) + "\n")
    return 0


def _component(found: Distribution) -> dict[str, Any]:
    """A distribution. Names as package URLs spell them: lower case, hyphens (PEP 503)."""
    name = re.sub(r"[-_.]+", "-", found.name).lower()
    purl = f"pkg:pypi/{name}@{found.version}"
    component = {"type": "library", "bom-ref": purl, "name": name, "version": found.version, "purl": purl}
    # PEP 639's field; older packages have prose, which is no licence that a program could compare.
    licences = found.metadata.get_all("License-Expression") or []
    return component | ({"licenses": [{"expression": licences[0]}]} if licences else {})


if __name__ == "__main__":
    sys.exit(main())
