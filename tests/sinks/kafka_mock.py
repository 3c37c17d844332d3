"""librdkafka's mock broker: the real protocol on a real socket, in this process, which can be taken down and up again.

The Python library has no names for it, so it is called as C. Kept in memory: it shows the protocol, not durability.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import confluent_kafka

_PRODUCER = 0
_TEXT_BYTES = 512
PRODUCE, INIT_PRODUCER_ID = 0, 22
"""Kafka's numbers for requests."""


def _library() -> ctypes.CDLL:
    [path] = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*.so*")
    found = ctypes.CDLL(str(path))
    pointers = "rd_kafka_new", "rd_kafka_mock_cluster_new", "rd_kafka_conf_new"
    for name in pointers:
        getattr(found, name).restype = ctypes.c_void_p
    found.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return found


class MockKafka:
    """A cluster of one broker."""

    def __init__(self) -> None:
        self._library = _library()
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        conf = ctypes.c_void_p(self._library.rd_kafka_conf_new())
        self._handle = ctypes.c_void_p(self._library.rd_kafka_new(_PRODUCER, conf, text, _TEXT_BYTES))
        assert self._handle.value is not None, text.value
        self._cluster = ctypes.c_void_p(self._library.rd_kafka_mock_cluster_new(self._handle, 1))
        self.brokers = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def make_topic(self, name: str, partitions: int = 4) -> None:
        """Otherwise it makes them itself when they are asked for."""
        self._do("topic_create", name.encode(), partitions, 1)

    def refuse_topic(self, name: str, error: int) -> None:
        """Metadata of the topic say this error from now on."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, name.encode(), error)

    def fail_next(self, request: int, *errors: int) -> None:
        """What the next requests of a kind are answered."""
        given = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, request, len(errors), given)

    def down(self) -> None:
        """Every connection ends, and none is taken."""
        self._do("broker_set_down", 1)

    def up(self) -> None:
        """As before."""
        self._do("broker_set_up", 1)

    def close(self) -> None:
        """End its threads."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)

    def _do(self, what: str, *arguments: bytes | int) -> None:
        error = getattr(self._library, f"rd_kafka_mock_{what}")(self._cluster, *arguments)
        assert error == 0, (what, error)
