"""A run as Parquet, for pandas, Polars and DuckDB."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from tracing.errors import EnvironmentProblemError, TraceError, as_utf8
from tracing.files import environment_problem
from tracing.finding import Finding
from tracing.path_reader import PathReader
from tracing.reader import open_run
from tracing.schema import arrow_schema

ROW_GROUP_STEPS: Final = 8192
ROW_GROUP_BYTES: Final = 64 << 20


def export_parquet(folder: str | Path, out: str | Path) -> list[Path]:
    """Write `<path>.parquet` for each path, and `findings.parquet` where there are findings.

    Text columns lose their dictionary encoding, as Parquet has its own. Each file holds the run's manifest
    under `specwb`, so that how the run ended and what it lacks goes with the rows. Memory stays flat with the
    length.

    Raises:
        TraceError: The folder is no run, or is damaged; what can be read is written before.
        EnvironmentProblemError: This pyarrow has no Parquet, or the disk refused a file.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise EnvironmentProblemError(
            "this pyarrow was built without Parquet; install pyarrow from a wheel"
        ) from None
    run, out = open_run(folder, every_row=True), Path(out)
    plain = {pa.dictionary(pa.int32(), pa.string()): pa.string()}
    manifest = json.dumps({key: run.manifest[key] for key in run.manifest if key != "crc32"})
    schema = pa.schema(
        [field.with_type(plain.get(field.type, field.type)) for field in arrow_schema()],
        metadata={"specwb": manifest},
    )
    written: list[Path] = []
    missing = list(run.problems)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in run.path_names:
            written.append(out / f"{name}.parquet")
            with pq.ParquetWriter(written[-1], schema, compression="zstd") as writer:
                count = 0
                for table in _row_groups(run.path(name).batches(), schema):
                    writer.write_table(table, row_group_size=table.num_rows)
                    count += table.num_rows
            missing += _missing(run.path(name), count)
        if run.findings:
            written.append(out / "findings.parquet")
            rows = [_finding_row(finding) for finding in run.findings]
            pq.write_table(pa.Table.from_pylist(rows), written[-1])
    except OSError as problem:
        raise environment_problem(out, problem) from None
    if missing:
        raise TraceError(f"{folder} is damaged, {out} holds what could be read: {'; '.join(missing)}")
    return written


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield rows in large pieces: Parquet keeps facts about each piece until the file is closed."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch.cast(schema))
        rows, size = sum(each.num_rows for each in waiting), sum(each.nbytes for each in waiting)
        if rows >= ROW_GROUP_STEPS or size >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(waiting, schema)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting, schema)


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
