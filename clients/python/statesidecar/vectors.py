"""Values that are arrays of numbers: how one is stored, and how many of them become one numpy array.

A value is the array's elements in C order, little-endian. Its content type says the rest, as
`application/vnd.statesidecar.tensor; dtype=<f4; shape=128`: numpy's name of the element type, and the dimensions with an
`x` between them. numpy (the extra `vectors`) is imported when it is needed, not before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from statesidecar import errors
from statesidecar.errors import FailedPrecondition, InvalidRequest
from statesidecar.types import Entry, ServingMode
from statesidecar.v1 import state_service_pb2 as pb

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, DTypeLike, NDArray

MEDIA_TYPE: Final = "application/vnd.statesidecar.tensor"
_ELEMENTS: Final = frozenset(
    {"|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", "<c8", "<c16"}
)
"""The element types that mean the same on every machine."""
_SILENT: Final = frozenset({"", "application/octet-stream"})
"""Content types that say nothing: the size of such a value has to fit."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Vectors:
    """Many values in one array: row i is that of the i-th key that was asked for."""

    #: Contiguous, of shape (keys, dim). Read-only where it is the response's own memory; see `writable`.
    array: NDArray[Any]
    #: True for each key that is not there; its row has `fill`.
    missing: NDArray[np.bool_]
    #: The version of each key, int64. 0: it is not there.
    versions: NDArray[np.int64]
    #: The weakest guarantee of all rows. PASSTHROUGH: some could not be asked for, and are told as missing.
    mode: ServingMode
    #: The authority could not be asked for some of them, so newer versions may exist.
    stale_possible: bool

    def writable(self) -> NDArray[Any]:
        """The array itself if it can be written to, else a copy: for `torch.from_numpy`, which wants such a one."""
        return self.array if self.array.flags.writeable else self.array.copy()


class Tensor(NamedTuple):
    """An array as a value: what `set` and `cas` take."""

    value: bytes
    content_type: str


def encode(array: ArrayLike, dtype: DTypeLike | None = None) -> Tensor:
    """An array as a value with its content type; `dtype` None: the array's own.

    Raises InvalidRequest (DTYPE_INVALID, SHAPE_INVALID), and ImportError without numpy.
    """
    np = _numpy()
    given = np.asarray(array)
    kind = element(given.dtype if dtype is None else dtype)
    if not given.ndim:
        raise InvalidRequest("SHAPE_INVALID", "a single number is no array: it has no dimension")
    made = np.ascontiguousarray(given, dtype=kind)
    return Tensor(made.tobytes(), content_type(kind.str, made.shape))


def decode(entry: Entry) -> NDArray[Any]:
    """A stored array, read-only: a view of the entry's value. Raises FailedPrecondition (TENSOR_MISMATCH) if it is none."""
    kind, shape = parsed(entry.content_type) or ("", ())
    if not kind:
        raise _mismatch(entry.key, entry.content_type, f"its content type {entry.content_type!r} is of no array")
    if len(entry.value) != _bytes(kind, shape):
        text = f"its {len(entry.value)} bytes are not those of {entry.content_type!r}"
        raise _mismatch(entry.key, entry.content_type, text)
    array: NDArray[Any] = _numpy().frombuffer(entry.value, dtype=kind).reshape(shape)
    return array


def content_type(kind: str, shape: Sequence[int]) -> str:
    """Of arrays of this element type, as numpy names it, and this shape."""
    return f"{MEDIA_TYPE}; dtype={kind}; shape={'x'.join(map(str, shape))}"


@lru_cache(maxsize=256)
def parsed(name: str) -> tuple[str, tuple[int, ...]] | None:
    """The element type and the shape that a content type says. None: it is no array's, or not a whole one."""
    media, *rest = (part.strip() for part in name.split(";"))
    if media.lower() != MEDIA_TYPE:
        return None
    said = {key.strip().lower(): value.strip() for key, _, value in (part.partition("=") for part in rest)}
    kind, sizes = said.get("dtype", ""), said.get("shape", "").split("x")
    if kind not in _ELEMENTS or not all(size.isascii() and size.isdigit() for size in sizes):
        return None
    return kind, tuple(map(int, sizes))


def element(dtype: DTypeLike) -> np.dtype[Any]:
    """The element type as it is stored: little-endian. Raises InvalidRequest (DTYPE_INVALID)."""
    library = _numpy()
    try:
        kind: np.dtype[Any] = library.dtype(dtype).newbyteorder("<")
    except TypeError as error:
        raise InvalidRequest("DTYPE_INVALID", f"{dtype!r} is no element type") from error
    if kind.str not in _ELEMENTS:
        raise InvalidRequest("DTYPE_INVALID", f"{dtype!r} is no element type that means the same on every machine")
    return kind


def shape_of(dim: int | Sequence[int] | None) -> tuple[int, ...] | None:
    """The shape of a row that a caller asks for. Raises InvalidRequest (SHAPE_INVALID)."""
    if dim is None:
        return None
    shape = (dim,) if isinstance(dim, int) else tuple(dim)
    if not shape or min(shape) < 0:
        raise InvalidRequest("SHAPE_INVALID", f"{dim} is no shape of a row")
    return shape


def gather(
    keys: Sequence[str],
    replies: Sequence[pb.BatchGetResponse],
    *,
    kind: np.dtype[Any],
    shape: tuple[int, ...] | None,
    fill: float,
) -> Vectors:
    """One array of the pages of an answer; `shape` None: that of the first value. Raises FailedPrecondition."""
    np = _numpy()
    pages = [reply.packed for reply in replies]
    versions = np.array([version for page in pages for version in page.versions], dtype=np.int64)
    sizes = np.array([size for page in pages for size in page.sizes], dtype=np.int64)
    missing = versions == 0
    nothing_missing = not missing.any()
    if shape is None:
        shape = _shape_of_first(pages, missing, sizes, kind)
    _check_types(keys, pages, missing, kind.str, shape)
    row_bytes = _bytes(kind.str, shape)
    wrong = sizes != row_bytes
    if not nothing_missing:
        wrong &= ~missing
    if wrong.any():
        at = int(wrong.argmax())
        text = f"its {sizes[at]} bytes are not the {row_bytes} of a row, {content_type(kind.str, shape)!r}"
        raise _mismatch(keys[at], "", text)
    if len(pages) == 1 and nothing_missing:
        array = np.frombuffer(pages[0].values, dtype=kind).reshape(len(keys), *shape)
    else:
        array = np.full((len(keys), *shape), fill, dtype=kind)
        begin = 0
        for page in pages:
            there = ~missing[begin : begin + len(page.versions)]
            rows = np.frombuffer(page.values, dtype=kind).reshape(int(there.sum()), *shape)
            array[begin : begin + len(there)][there] = rows
            begin += len(there)
    return Vectors(
        array=array,
        missing=missing,
        versions=versions,
        mode=ServingMode(max(reply.mode for reply in replies)),
        stale_possible=any(page.stale_possible for page in pages),
    )


def _shape_of_first(
    pages: Sequence[pb.PackedValues], missing: NDArray[np.bool_], sizes: NDArray[np.int64], kind: np.dtype[Any]
) -> tuple[int, ...]:
    """What the first value that is there says it is; else one dimension of as many elements as it has bytes for."""
    if missing.all():
        return (0,)
    at = first = int(missing.argmin())
    for page in pages:
        if at < len(page.versions):
            index = page.content_type_indexes[at] if page.content_type_indexes else 0
            said = parsed(page.content_types[index])
            return said[1] if said is not None else (int(sizes[first]) // kind.itemsize,)
        at -= len(page.versions)
    raise AssertionError("a page has it")


def _check_types(
    keys: Sequence[str],
    pages: Sequence[pb.PackedValues],
    missing: NDArray[np.bool_],
    kind: str,
    shape: tuple[int, ...],
) -> None:
    begin = 0
    for page in pages:
        wrong = {
            number: name
            for number, name in enumerate(page.content_types)
            if name not in _SILENT and parsed(name) != (kind, shape)
        }
        if wrong:
            indexes = page.content_type_indexes or [0] * len(page.versions)
            for at, index in enumerate(indexes, begin):
                if index in wrong and not missing[at]:
                    text = f"its content type is {wrong[index]!r}, {content_type(kind, shape)!r} was asked for"
                    raise _mismatch(keys[at], wrong[index], text)
        begin += len(page.versions)


def _mismatch(key: str, found: str, text: str) -> FailedPrecondition:
    return FailedPrecondition(
        errors.TENSOR_MISMATCH,
        f"the value of {key!r} does not fit: {text}",
        metadata={"key": key, "content_type": found},
    )


def _bytes(kind: str, shape: Sequence[int]) -> int:
    return int(kind[2:]) * math.prod(shape)


def _numpy() -> Any:
    try:
        import numpy as np  # noqa: PLC0415  # 25 MB, and only who has vectors needs it
    except ImportError as error:
        raise ImportError("vectors need numpy: pip install 'state-sidecar-client[vectors]'") from error
    return np
