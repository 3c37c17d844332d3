"""A Store in a DynamoDB table, shared by all daemons that name the table."""

from sidecar.stores.dynamodb.store import DynamoStore
from sidecar.stores.dynamodb.target import DynamoTarget, parse_target

__all__ = ["DynamoStore", "DynamoTarget", "parse_target"]
