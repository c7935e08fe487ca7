"""A run as files of other tools: Parquet, JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa

from tracing.errors import EnvironmentProblemError, TraceError, UsageError, as_utf8
from tracing.files import environment_problem
from tracing.finding import Finding
from tracing.path_reader import PathReader
from tracing.reader import open_run
from tracing.schema import arrow_schema

ROW_GROUP_STEPS: Final = 8192
ROW_GROUP_BYTES: Final = 64 << 20
JSON_ROWS: Final = 64
"""Rows that are Python objects at a time."""
Kind = Literal["parquet", "jsonl"]
_PLAIN: Final = {pa.dictionary(pa.int32(), pa.string()): pa.string()}


def export_run(folder: str | Path, out: str | Path, kind: Kind = "parquet") -> list[Path]:
    """Write one file for each path, and one of the findings where there are any; nothing is overwritten.

    Text columns lose their dictionary encoding. The files' schema (Parquet) holds the run's manifest under
    `specwb`, so that how the run ended and what it lacks goes with the rows; beside JSON lines it lies as
    `manifest.json`. Memory stays flat with the length.

    Args:
        folder: A run.
        out: A folder; made where it is not there.
        kind: `parquet`, for pandas, Polars and DuckDB; `jsonl`, a JSON object a row, for everything else, in
            which numbers that are not finite are the strings `nan`, `inf` and `-inf`.

    Raises:
        TraceError: The folder is no run, or is damaged; what can be read is written before.
        UsageError: A file that would be written is there already.
        EnvironmentProblemError: This pyarrow has no Parquet, or the disk refused a file.
    """
    run, out = open_run(folder, every_row=True), Path(out)
    manifest = json.dumps({key: run.manifest[key] for key in run.manifest if key != "crc32"})
    schema = pa.schema(
        [field.with_type(_PLAIN.get(field.type, field.type)) for field in arrow_schema()],
        metadata={"specwb": manifest},
    )
    names = [*run.path_names, *(["findings"] if run.findings else [])]
    files = _fresh_files(out, names, kind)
    missing = list(run.problems)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in run.path_names:
            count = _WRITERS[kind](files[name], schema, _row_groups(run.path(name).batches(), schema))
            missing += _missing(run.path(name), count)
        if run.findings:
            found = pa.Table.from_pylist([_finding_row(finding) for finding in run.findings])
            _WRITERS[kind](files["findings"], found.schema, [found])
        if kind == "jsonl":
            files["manifest"].write_text(f"{manifest}\n", "utf-8")
    except OSError as problem:
        raise environment_problem(out, problem) from None
    if missing:
        raise TraceError(f"{folder} is damaged, {out} holds what could be read: {'; '.join(missing)}")
    return list(files.values())


def _fresh_files(out: Path, names: Iterable[str], kind: Kind) -> dict[str, Path]:
    """Return the file of each name.

    Raises:
        UsageError: One is there already.
    """
    files = {name: out / f"{name}.{kind}" for name in names}
    if kind == "jsonl":
        files["manifest"] = out / "manifest.json"
    there = [file for file in files.values() if file.exists() or file.is_symlink()]
    if there:
        raise UsageError(f"{there[0]} is there already, and is not overwritten; choose another folder")
    return files


def _write_parquet(file: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    """Write tables and return how many rows they have."""
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise EnvironmentProblemError(
            "this pyarrow was built without Parquet; install pyarrow from a wheel, or export with --jsonl"
        ) from None
    count = 0
    ordered = [field.name for field in schema if not pa.types.is_nested(field.type)]
    repeating = [*ordered, *_repeating(schema)]
    with (
        pq.ParquetWriter(
            file, schema, compression="zstd", use_dictionary=repeating, write_statistics=ordered
        ) as writer,
        ThreadPoolExecutor(1) as beside,
    ):
        written: Future[None] | None = None
        for table in tables:  # read while the one before is written
            if written is not None:
                written.result()
            written = beside.submit(writer.write_table, table, row_group_size=max(1, table.num_rows))
            count += table.num_rows
        if written is not None:
            written.result()
    return count


def _repeating(schema: pa.Schema) -> list[str]:
    """Return the leaves of lists whose values repeat; scores, times and digests do not, masks are bits."""
    return [
        f"{field.name}.list.element"
        for field in schema
        if pa.types.is_list(field.type) and pa.types.is_int32(field.type.value_type)
    ]


def _write_jsonl(file: Path, _schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    """Write a line a row and return how many rows there are."""
    count = 0
    with file.open("x", encoding="utf-8") as lines:
        for table in tables:
            for batch in table.to_batches(max_chunksize=JSON_ROWS):
                lines.writelines(f"{json.dumps(_finite(row))}\n" for row in batch.to_pylist())
            count += table.num_rows
    return count


def _finite(value: Any) -> Any:
    """Return JSON data in which numbers that JSON does not have are text."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


_WRITERS: Final[dict[Kind, Callable[[Path, pa.Schema, Iterable[pa.Table]], int]]] = {
    "parquet": _write_parquet,
    "jsonl": _write_jsonl,
}


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield rows in large pieces: Parquet keeps facts about each piece until the file is closed."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= ROW_GROUP_STEPS or size >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(waiting).cast(schema)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield pa.Table.from_batches(waiting).cast(schema)


def _missing(path: PathReader, count: int) -> list[str]:
    """Return how many rows of a damaged path were exported, and why not all; nothing for a whole path."""
    if not path.problems:
        return []
    known = (path.entry.get("rows"), (path.stream.end or {}).get("num_rows"), count)
    total = max(number for number in known if type(number) is int)
    return [f"{count} of {total} rows of {path.name}", *path.problems]


def _finding_row(finding: Finding) -> dict[str, Any]:
    """Return a finding with text where one field may hold numbers or text: a column needs one type."""
    row = finding.as_json()
    mixed = ("fused", "reference", "allowance", "gap")
    row["frames"] = "; ".join(finding.frames) or None
    row |= {key: as_utf8(value) for key, value in row.items() if isinstance(value, str)}
    return row | {key: None if row[key] is None else str(row[key]) for key in mixed}
