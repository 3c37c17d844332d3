"""ministack: an emulator of DynamoDB, S3, SQS and SNS. It shows the shape of their APIs; it says nothing about their durability."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from servers.base import HOST, Server, binary

READY_TIMEOUT_S = 2.0
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",  # it takes any
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What a client of it needs in its environment."""
HOME = Path(__file__).parents[1] / ".servers" / "emulators"


class Ministack(Server):
    """In an environment of its own, since it pins versions of libraries that we use too. Its data is in memory."""

    name = "ministack"

    @property
    def endpoint_url(self) -> str:
        """Where clients send requests of any service."""
        return f"http://{HOST}:{self.port}"

    def command(self) -> Sequence[str | Path]:
        """The environment's script."""
        return [binary("ministack", wheel=HOME / "bin" / "ministack", variable="MINISTACK")]

    def environ(self) -> Mapping[str, str]:
        """Its whole configuration; by itself it listens on every address."""
        return {
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": HOST,
            "SERVICES": "dynamodb,s3,sqs,sns",
            "LOG_LEVEL": "WARNING",
        }

    def ready(self) -> None:
        """It lists the tables."""
        request = urllib.request.Request(
            self.endpoint_url,
            data=b"{}",
            headers={
                "Content-Type": "application/x-amz-json-1.0",
                "X-Amz-Target": "DynamoDB_20120810.ListTables",
                "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request",
            },
        )
        with urllib.request.urlopen(request, timeout=READY_TIMEOUT_S) as reply:
            assert "TableNames" in json.load(reply)
