"""URLs of buckets: what they say, and what they are refused for."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from sidecar.stores.s3.target import S3Target, parse_target


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("s3://bucket", S3Target(bucket="bucket")),
        ("s3://bucket/", S3Target(bucket="bucket")),
        ("s3://my.bucket-1/a/b_c", S3Target(bucket="my.bucket-1", prefix="a/b_c")),
        (
            "s3://bucket/cold/?endpoint_url=http://minio:9000/&region=eu-central-1&create=true",
            S3Target(
                bucket="bucket",
                prefix="cold",
                endpoint_url="http://minio:9000",
                region="eu-central-1",
                create=True,
                path_style=True,
            ),
        ),
        (
            "s3://bucket?endpoint_url=https%3A%2F%2Fs3.example.com&path_style=false",
            S3Target(bucket="bucket", endpoint_url="https://s3.example.com"),
        ),
        ("s3://bucket?path_style=true", S3Target(bucket="bucket", path_style=True)),
    ],
)
def test_a_url_says_where_objects_go(url: str, target: S3Target) -> None:
    assert parse_target(url) == target


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://", "bucket's name"),
        ("s3://a", "bucket's name"),
        ("s3://bucket:80/x", "bucket's name"),
        ("http://bucket/x", "s3://BUCKET"),
        ("s3://[bucket", "read as a URL"),
        ("s3://key:secret@bucket", "AWS_ACCESS_KEY_ID"),
        ("s3://bucket/a//b", "prefix"),
        ("s3://bucket/a/../b", "prefix"),
        ("s3://bucket/a b", "prefix"),
        ("s3://bucket/a%00b", "prefix"),
        ("s3://bucket/" + "x" * 191, "190"),
        ("s3://bucket#a", "#"),
        ("s3://bucket?acl=private", "endpoint_url, region, create, path_style"),
        ("s3://bucket?region=a&region=b", "twice"),
        ("s3://bucket?region=", "region"),
        ("s3://bucket?region=eu.central", "region"),
        ("s3://bucket?create=yes", "create is true or false"),
        ("s3://bucket?path_style=1", "path_style is true or false"),
        ("s3://bucket?endpoint_url=minio:9000", "endpoint_url has the form"),
        ("s3://bucket?endpoint_url=http://minio:port", "endpoint_url has the form"),
        ("s3://bucket?endpoint_url=", "endpoint_url has the form"),
        ("s3://bucket?endpoint_url=http://key:secret@minio", "AWS_ACCESS_KEY_ID"),
        ("s3://bucket?endpoint_url=http://minio%3Fsecret=1", "endpoint"),
    ],
)
def test_what_is_wrong_is_said_and_no_secret_repeated(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        parse_target(url)

    assert "secret" not in str(caught.value)


def test_a_url_is_read_without_the_aws_library() -> None:
    program = "import sys, sidecar.stores.s3.target; assert not {'boto3', 'botocore'} & set(sys.modules)"

    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
