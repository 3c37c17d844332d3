"""state-sidecar: a gRPC daemon that runs beside each model-serving pod and gives it memory."""

__version__ = "0.1.0"
