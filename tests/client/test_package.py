"""What `import statesidecar` gives: every public name, and nothing that was not asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import statesidecar

LOADED = """
import sys
import statesidecar.v1.state_service_pb2
print(*sorted(name for name in sys.modules if name.startswith("statesidecar.") and ".v1" not in name))
"""


def test_every_public_name_is_there_and_every_lazy_one_is_public() -> None:
    assert set(statesidecar._MODULES) == set(statesidecar.__all__) - {"__version__"}
    for name in statesidecar.__all__:
        assert getattr(statesidecar, name) is not None
    assert set(statesidecar.__all__) <= set(dir(statesidecar))


def test_modules_are_attributes_as_ever() -> None:
    assert statesidecar.errors.VersionConflict is statesidecar.VersionConflict


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = statesidecar.Nothing


def test_the_stubs_alone_load_nothing_else() -> None:
    told = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=60)

    assert told.stdout.split() == []
