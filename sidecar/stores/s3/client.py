"""The AWS library's client, with everything off that waits or repeats without our knowledge."""

from __future__ import annotations

from typing import Any

from botocore.config import Config  # type: ignore[import-untyped]  # it has no types
from botocore.session import Session  # type: ignore[import-untyped]  # the same

import sidecar
from sidecar.stores.s3.target import S3Target

REGION_ELSEWHERE = "us-east-1"
"""What servers other than AWS's expect in signatures if they are not told otherwise."""


def connect(target: S3Target, *, timeout_s: float, connections: int) -> Any:
    """A client, usable by many threads. `timeout_s` bounds each wait of a socket. It sends nothing yet.

    Blocks: it looks for credentials, and reads the library's descriptions of S3.
    """
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if target.path_style else "auto"},
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        max_pool_connections=connections,
        tcp_keepalive=True,
        # We send and check SHA-256 ourselves; the library's own choice is CRC-32 in a trailer that not all servers know.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra=f"state-sidecar/{sidecar.__version__}",
    )
    session = Session()
    # Also for the services that credentials come from, which the session asks by itself.
    session.set_default_client_config(config)
    region = target.region or session.get_config_variable("region")
    return session.create_client("s3", region_name=region or REGION_ELSEWHERE, endpoint_url=target.endpoint_url)
