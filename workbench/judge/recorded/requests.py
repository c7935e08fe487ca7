"""Which request of an engine a finding is about, by the names that the trace has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from tracing.errors import TraceError
from tracing.finding import Finding
from tracing.manifest_facts import table
from tracing.reader import Run, open_run

COLUMNS: Final = ("prompt_id", "turn", "request_id")
Names = Mapping[tuple[int, int], str]


def request_names(run: Run, path_name: str, *, recorded: bool = True) -> Names:
    """Return the engine's name of each prompt and turn, as far as it is recorded.

    The writer of a manifest of format 1.0 may map prompt numbers to names instead.
    """
    stated = {key: each for key, each in table(run.manifest, "own_requests").items() if isinstance(each, str)}
    names = {(int(key), 0): each for key, each in stated.items() if key.isdecimal()}
    if not recorded:
        return names
    try:
        every = open_run(run.folder, every_row=True).path(path_name)
        for batch in every.batches(COLUMNS):
            if batch.column("request_id").null_count < len(batch):
                for prompt_id, turn, name in zip(
                    *(batch.column(each).to_pylist() for each in COLUMNS), strict=True
                ):
                    if name is not None and prompt_id is not None and turn is not None:
                        names.setdefault((prompt_id, turn), str(name))
    except TraceError:
        pass  # the damage is reported by whoever reads the rows
    return names


def named(
    findings: Iterable[Finding], run: Run, path_name: str, *, recorded: bool = True
) -> tuple[Finding, ...]:
    """Return findings with the request that each is about; the trace is read only where there are some.

    Args:
        findings: Of the path.
        run: The run.
        path_name: The path.
        recorded: Whether a row of the path may name a request; False where none does.
    """
    found = tuple(findings)
    names = request_names(run, path_name, recorded=recorded) if found else {}
    return tuple(replace(each, request=names.get(each.moment.place[:2], each.request)) for each in found)
