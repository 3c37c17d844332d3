"""Which queue or topic a URL names. Credentials are no part of it: they come from the places where AWS's own tools look.

sqs://QUEUE?region=…&account=…&endpoint_url=…
sns://arn:aws:sns:REGION:ACCOUNT:TOPIC?endpoint_url=…
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from sidecar.sinks.parameters import matched, parameters, split

_SQS_FORM = "sqs://QUEUE?region=…&account=…&endpoint_url=…"
_SNS_FORM = "sns://arn:aws:sns:REGION:ACCOUNT:TOPIC?endpoint_url=…"
_QUEUE = re.compile(r"[A-Za-z0-9_-]{1,80}(?:\.fifo)?")
_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:([a-z0-9-]{1,64}):[0-9]{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_ACCOUNT = re.compile(r"[0-9]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsTarget:
    """A queue by its name, or a topic by its ARN; None: as AWS's own configuration says."""

    service: str
    """`sqs` or `sns`."""
    name: str
    region: str | None = None
    account: str | None = None
    """Whose queue it is."""
    endpoint_url: str | None = None

    @property
    def fifo(self) -> bool:
        """Whether it keeps an order, and takes an id once."""
        return self.name.endswith(".fifo")

    def __str__(self) -> str:
        return f"{self.service}://{self.name}"


def parse_target(url: str) -> AwsTarget:
    """Read a URL. Raises ValueError with a message for the operator, which names no secret."""
    form = _SNS_FORM if url.startswith("sns://") else _SQS_FORM
    parts = split(url, form)
    if parts.scheme not in ("sqs", "sns") or parts.path.strip("/"):
        raise ValueError(f"it has the form {form}")
    if "@" in parts.netloc:
        raise ValueError(
            "credentials are not read from the URL: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role"
        )
    if parts.scheme == "sns":
        topic = _TOPIC.fullmatch(parts.netloc)
        if topic is None:
            raise ValueError(f"a topic is named by its ARN: {_SNS_FORM}")
        given = parameters(parts.query, ("endpoint_url",))
        return AwsTarget(service="sns", name=parts.netloc, region=topic[1], endpoint_url=_endpoint(given))
    if not _QUEUE.fullmatch(parts.netloc):
        raise ValueError(f"a queue's name has 1 to 80 letters, digits, - and _, and .fifo at its end: {_SQS_FORM}")
    given = parameters(parts.query, ("region", "account", "endpoint_url"))
    return AwsTarget(
        service="sqs",
        name=parts.netloc,
        region=matched(given, "region", _REGION, "a name such as eu-central-1") or None,
        account=matched(given, "account", _ACCOUNT, "a number of 12 digits") or None,
        endpoint_url=_endpoint(given),
    )


def _endpoint(given: dict[str, str]) -> str | None:
    url = given.get("endpoint_url")
    if url is None:
        return None
    wrong = ValueError("endpoint_url has the form http://host:port or https://host")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or "@" in parts.netloc:
        raise wrong
    if parts.query or parts.fragment:
        raise wrong
    return url.rstrip("/")
