"""Python client of state-sidecar."""

__version__ = "0.1.0"
