"""What a URL says, and what an operator hears of a wrong one."""

from __future__ import annotations

import pytest

from sidecar.stores.dynamodb.target import DynamoTarget, parse_target


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("dynamodb://state", DynamoTarget(table="state")),
        ("dynamodb://State_1.b-2/", DynamoTarget(table="State_1.b-2")),
        ("dynamodb://state?region=eu-west-1", DynamoTarget(table="state", region="eu-west-1")),
        ("dynamodb://state?region=us-gov-west-1", DynamoTarget(table="state", region="us-gov-west-1")),
        (
            "dynamodb://state?endpoint_url=http%3A%2F%2F127.0.0.1%3A8000&create=true&prefix=a.b&profile=dev",
            DynamoTarget(table="state", endpoint_url="http://127.0.0.1:8000", create=True, prefix="a.b", profile="dev"),
        ),
        (
            "dynamodb://state?endpoint_url=http://127.0.0.1:8000&region=eu-west-1",
            DynamoTarget(table="state", endpoint_url="http://127.0.0.1:8000", region="eu-west-1"),
        ),
        ("dynamodb://state?create=false", DynamoTarget(table="state")),
    ],
)
def test_a_url_names_a_table_and_how_to_reach_it(url: str, target: DynamoTarget) -> None:
    assert parse_target(url) == target


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://state", "not a dynamodb:// URL"),
        ("dynamodb://", "3 to 255 letters"),
        ("dynamodb://ab", "3 to 255 letters"),
        ("dynamodb://a table", "3 to 255 letters"),
        ("dynamodb://state:8000", "3 to 255 letters"),
        ("dynamodb://state/more", "nothing but parameters"),
        ("dynamodb://state#more", "nothing but parameters"),
        ("dynamodb://[state", "not a URL"),
        ("dynamodb://key:hunter2@state", "credentials do not belong in the URL"),
        ("dynamodb://state?aws_secret_access_key=hunter2", "known are region, endpoint_url, profile, prefix, create"),
        ("dynamodb://state?region=eu-west-1&region=eu-west-2", "region is given twice"),
        ("dynamodb://state?region=", "region is empty"),
        ("dynamodb://state?region=Europe", "a region is such as eu-west-1"),
        ("dynamodb://state?prefix=a/b", "prefix has at most"),
        ("dynamodb://state?create=yes", "create is true or false"),
        ("dynamodb://state?endpoint_url=127.0.0.1:8000", "endpoint_url is such as"),
        ("dynamodb://state?endpoint_url=http://h:1/path", "endpoint_url is such as"),
        ("dynamodb://state?endpoint_url=http://key:hunter2@h:1", "credentials do not belong in endpoint_url"),
        ("dynamodb://state?endpoint_url=http://[h", "not a URL"),
    ],
)
def test_a_wrong_url_is_refused_in_words_and_without_its_secrets(url: str, told: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the message is looked at
        parse_target(url)

    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
