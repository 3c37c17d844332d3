"""`export` against a real daemon: what is read back is the state, row for row and column for column."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from pyarrow import parquet

from sidecar.cli.export import command, formats
from statesidecar import SetOp
from tests.cli.conftest import Run, runner
from tests.cli.export_support import LARGE_BYTES, Lake, fill, lake, read_jsonl, read_parquet

NS = "carts/50% of \u043b\u0430\u0432\u043a\u0430"
"""A namespace whose name needs encoding."""
FOLDER = "namespace=carts%2F50%25%20of%20%D0%BB%D0%B0%D0%B2%D0%BA%D0%B0"
ENTRIES = 3_000


@pytest.fixture(scope="module")
def filled() -> Iterator[Lake]:
    """Entries of five days, that no test of this module changes."""
    with lake() as running:
        fill(running, NS, ENTRIES, days=5, large=4)
        yield running


@pytest.fixture
def export(filled: Lake, tmp_path: Path) -> Run:
    """The command, into the test's own place."""
    return lambda *arguments, **options: runner(filled.target)(
        "export", *(arguments or (NS,)), "--to", f"file://{tmp_path}/lake", **options
    )


def parts(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.is_file() and "_state" not in path.parts)


def test_parquet_read_back_is_the_state(filled: Lake, export: Run, tmp_path: Path) -> None:
    ran = export()

    rows = filled.rows(NS)
    assert (ran.code, ran.err) == (0, "")
    assert len(rows) > ENTRIES * 0.9
    assert len({row["date"] for row in rows}) == 6
    assert read_parquet(tmp_path / "lake") == rows
    assert ran.text.startswith(f"exported · {len(rows):,} entries · ")
    assert ran.text.endswith(f" · file://{tmp_path}/lake/{FOLDER}\n")


def test_json_lines_read_back_are_the_state(filled: Lake, export: Run, tmp_path: Path) -> None:
    ran = export(NS, "--format", "jsonl", "--json")

    rows = filled.rows(NS)
    assert read_jsonl(tmp_path / "lake") == rows
    told = ran.json
    assert (told["rows"], told["parts"], told["resumed"]) == (len(rows), len(parts(tmp_path / "lake")), False)
    assert (told["folder"], told["format"], told["what"], told["namespace"]) == (FOLDER, "jsonl", "entries", NS)
    assert told["bytes"] > sum(len(row["value"]) for row in rows)


def test_columns_have_their_types_and_readers_may_name_those_of_the_partitions(
    filled: Lake, export: Run, tmp_path: Path
) -> None:
    export()

    stored = parquet.read_schema(parts(tmp_path / "lake")[0])
    time = pa.timestamp("us", tz="UTC")
    assert [(field.name, field.type) for field in stored] == [
        ("namespace", pa.string()),
        ("key", pa.string()),
        ("value", pa.binary()),
        ("version", pa.int64()),
        ("content_type", pa.string()),
        ("schema_version", pa.int64()),
        ("create_time", time),
        ("update_time", time),
        ("expire_time", time),
        ("labels", pa.map_(pa.string(), pa.string())),
    ]
    dated = ds.partitioning(pa.schema([("namespace", pa.string()), ("date", pa.date32())]), flavor="hive")
    table = ds.dataset(tmp_path / "lake", format="parquet", partitioning=dated).to_table()
    assert table.schema.field("date").type == pa.date32()
    assert set(table["namespace"].to_pylist()) == {NS}


def test_files_are_bounded_in_rows_and_bytes_and_row_groups_in_bytes(
    filled: Lake, export: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "GROUP_BYTES_MAX", 8 * 1024)
    ran = export(NS, "--part-rows", "100", "--part-bytes", "256KiB")
    assert ran.code == 0

    assert read_parquet(tmp_path / "lake") == filled.rows(NS)
    full = 0
    for file in parts(tmp_path / "lake"):
        rows = parquet.read_table(file, columns=["key", "value"]).to_pylist()
        size = sum(len(row["key"].encode()) + len(row["value"]) for row in rows)
        full += len(rows) == 100
        assert len(rows) <= 100
        assert size <= 256 * 1024 or len(rows) == 1
        groups = parquet.ParquetFile(file)
        for index in range(groups.num_row_groups):
            values = groups.read_row_group(index, columns=["value"])["value"].to_pylist()
            assert sum(map(len, values)) <= 8 * 1024 or len(values) == 1
    assert 0 < full < len(parts(tmp_path / "lake"))
    assert LARGE_BYTES > 256 * 1024


def test_a_prefix_leaves_the_others_out(filled: Lake, export: Run, tmp_path: Path) -> None:
    assert export(NS, "--prefix", "user/00").code == 0

    assert read_parquet(tmp_path / "lake") == filled.rows(NS, "user/00")


def test_little_memory_makes_more_files_and_the_same_rows(filled: Lake, export: Run, tmp_path: Path) -> None:
    ran = export(NS, "--buffer-bytes", "100KiB", "--json")

    assert ran.json["parts"] > 50
    assert read_parquet(tmp_path / "lake") == filled.rows(NS)


def test_namespaces_share_a_place(filled: Lake, export: Run, tmp_path: Path) -> None:
    filled.put("12", [SetOp("a", b"1")])

    assert (export().code, export("12").code) == (0, 0)

    assert read_parquet(tmp_path / "lake" / "namespace=12")[0]["namespace"] == "12"
    assert len(read_parquet(tmp_path / "lake")) == len(filled.rows(NS)) + 1


def test_an_empty_namespace_is_exported_as_nothing(export: Run, tmp_path: Path) -> None:
    ran = export("empty", "--json")

    assert (ran.code, ran.json["rows"], ran.json["parts"], parts(tmp_path / "lake")) == (0, 0, 0, [])


def test_a_finished_export_is_replaced_by_the_next(filled: Lake, export: Run, tmp_path: Path) -> None:
    filled.put("again", [SetOp(f"{number}", b"old") for number in range(10)])
    assert export("again").code == 0
    filled.tomorrow()
    filled.put("again", [SetOp(f"{number}", b"new") for number in range(5, 12)])

    ran = export("again")

    assert (ran.code, ran.err) == (0, "")
    assert read_parquet(tmp_path / "lake" / "namespace=again") == filled.rows("again")


@pytest.mark.parametrize("other", [("--format", "jsonl"), ("--prefix", "user/"), ("--what", "checkpoints")])
def test_another_export_does_not_get_into_the_same_place(export: Run, tmp_path: Path, other: tuple[str, ...]) -> None:
    export()
    before = parts(tmp_path / "lake")

    ran = export(NS, *other)

    assert (ran.code, ran.out) == (4, b"")
    assert "the place is of an export of entries as parquet, not of " in ran.err
    assert "Name another --to: one place holds one export of a namespace." in ran.err
    assert parts(tmp_path / "lake") == before


def test_parts_that_nothing_is_known_of_are_left_alone(export: Run, tmp_path: Path) -> None:
    export()
    (state,) = (tmp_path / "lake" / "_state").iterdir()
    told = json.loads(state.read_text())

    def refused(advice: str) -> str:
        ran = export()
        assert (ran.code, ran.out, advice in ran.err) == (4, b"", True)
        return ran.err

    for spoilt in ("{}", "nonsense", json.dumps(told | {"next_part": "1"}), json.dumps(told | {"form": 2})):
        state.write_text(spoilt)
        assert f"_state/{state.name} is not a progress that this release can read" in refused("Name another --to")
    state.unlink()
    assert f"{FOLDER} holds parts, and no _state/{state.name} tells of what" in refused("Name another --to")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--to", "ftp://host/x"], "it has the form file:///path or s3://BUCKET/PREFIX"),
        (["--to", "lake"], "it has the form file:///path or s3://BUCKET/PREFIX"),
        (["--to", "file://"], "it has the form file:///path"),
        (["--to", "s3://key:secret@bucket/x"], "credentials are not read from the URL"),
        (["--to", "s3://bucket/x?nonsense=1"], "there is no parameter 'nonsense'"),
        (["--to", "s3://bucket/x?path_style=true"], "path_style=true needs an endpoint_url here"),
        (["--to", "s3://bucket/x?endpoint_url=http://host/path"], "without a path"),
        (["--to", "file:///x", "--format", "csv"], "'csv' is not one of 'parquet', 'jsonl'"),
        (["--to", "file:///x", "--part-bytes", "0"], "'0' is not above zero"),
        (["--to", "file:///x", "--buffer-bytes", "many"], "'many' is not a size"),
        (["--to", "file:///x", "--part-rows", "0"], "0 is not in the range"),
        (["--to", "file:///x", "--what", "checkpoints", "--prefix", "a"], "--prefix is for entries"),
        ([], "Missing option '--to'"),
    ],
)
def test_each_mistake_is_a_usage_error(filled: Lake, arguments: list[str], told: str) -> None:
    ran = runner(filled.target)("export", NS, *arguments)

    assert (ran.code, ran.out) == (2, b"")
    assert told in ran.err


def test_without_its_library_it_says_what_to_install(export: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> Any:
        assert name == "pyarrow"

    monkeypatch.setattr(command, "find_spec", find_spec)

    ran = export()

    assert (ran.code, ran.out) == (2, b"")
    assert "pip install state-sidecar[export]" in ran.err


def test_a_namespace_that_cannot_be_is_the_daemons_refusal(export: Run) -> None:
    ran = export("", "--json")

    error = json.loads(ran.err)["error"]
    assert (ran.code, error["exit_code"], error["reason"]) == (4, 4, "NAMESPACE_INVALID")
