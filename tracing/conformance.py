"""For engine authors: does your recording code put down what really happened?

`check_recorder` hands your adapter steps of known trees, lets it record them, and compares what comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from tracing.columns import KEY_COLUMNS
from tracing.integrity import verify_run
from tracing.reader import open_run
from tracing.recorder import Recorder, open_trace
from tracing.schema import column_named

MINIMAL_COLUMNS: Final = ("token_ids", "parents")
"""Without these a recording has no tree."""


@dataclass(frozen=True, slots=True)
class KnownStep:
    """One step of a known tree, in the words of the trace.

    Attributes:
        prompt_id, turn, step: Which one.
        columns: What the engine would have in its hands; a driver picks what it can and records it.
        misshapen: Column whose array is deliberately one element too long, empty in an honest step.
    """

    prompt_id: int
    turn: int
    step: int
    columns: Mapping[str, Any]
    misshapen: str = ""


Drive = Callable[[Recorder, KnownStep], None]


@dataclass(frozen=True, slots=True)
class Conformance:
    """What `check_recorder` found.

    Attributes:
        recorded: Columns that came back as they were given.
        missing: Columns that the driver never recorded.
        wrong: Sentences about columns that came back different, steps that are missing, and arrays that were
            bent into shape; empty when the recorder conforms.
        locked: Rules that cannot run, each with the columns it lacks.
    """

    recorded: frozenset[str]
    missing: frozenset[str]
    wrong: tuple[str, ...]
    locked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def conforms(self) -> bool:
        """True when nothing is wrong and the minimal columns are there."""
        return not self.wrong and self.recorded.issuperset(MINIMAL_COLUMNS)

    def __str__(self) -> str:
        lines = list(self.wrong)
        lines += [f"not recorded: {', '.join(sorted(self.missing))}"] if self.missing else []
        lines += [
            f"{rule} cannot run without {', '.join(names)}" for rule, names in sorted(self.locked.items())
        ]
        return "\n".join(lines) or "conforms"


def check_recorder(drive: Drive, rules: Mapping[str, Iterable[str]] | None = None) -> Conformance:
    """Record known steps through `drive` and compare what comes back.

    Args:
        drive: `(trace, known)`: your code that turns a step into `with trace.step(...) as s: s.record(...)`.
            It may record fewer columns, in any array type, but must not change, cut or pad them.
        rules: Columns that each rule needs, to say which rules stay locked.

    Returns:
        What was found; nothing is raised for a recorder that does not conform.
    """
    import tempfile  # costs every start some milliseconds

    steps = known_steps()
    with tempfile.TemporaryDirectory(prefix="specwb-conformance-") as folder:
        rows, wrong = _drive_all(drive, steps, Path(folder) / "honest")
        recorded, differing = _compare(steps, rows)
        wrong += differing
        per_node = sorted(name for name in recorded if column_named(name).axes == ("N",))
        if len(per_node) > 1:
            wrong += _misshapen_accepted(drive, per_node, Path(folder))
    given = set(steps[0].columns)
    locked = {
        rule: lacking
        for rule, names in (rules or {}).items()
        if (lacking := tuple(sorted(set(names) - recorded - set(KEY_COLUMNS))))
    }
    return Conformance(frozenset(recorded), frozenset(given - recorded), tuple(wrong), locked)


def known_steps() -> list[KnownStep]:
    """Return three steps: a branching tree with pads, a chain, and a lone root; no two columns are alike."""
    branching = _known(0, parents=[0, 0, 0, 1, 1, 2, 3], num_pads=2, accepted=[2, 5])
    chain = _known(1, parents=[0, 0, 1, 2], num_pads=0, accepted=[1, 2, 3])
    lone = _known(2, parents=[0], num_pads=3, accepted=[])
    return [branching, chain, lone]


def _known(step: int, *, parents: list[int], num_pads: int, accepted: list[int]) -> KnownStep:
    num_valid, num_nodes = len(parents), len(parents) + num_pads
    committed_len = 11 + 7 * step
    depths = np.zeros(num_nodes, np.int64)
    visible = np.zeros((num_nodes, num_nodes), np.bool_)
    for node, parent in enumerate(parents):
        depths[node] = depths[parent] + 1 if node else 0
        visible[node] = visible[parent]
        visible[node, node] = True
    token_ids = 100 + 10 * step + np.arange(num_nodes)
    choices = 300 + 10 * step + np.arange(num_nodes)
    for before, after in zip([0, *accepted], accepted, strict=False):
        choices[before] = token_ids[after]
    final_token_id = int(choices[accepted[-1] if accepted else 0])
    columns = {
        "committed_len": committed_len,
        "committed_len_after": committed_len + len(accepted) + 1,
        "token_ids": token_ids,
        "parents": np.array(parents + [0] * num_pads),
        "depths": depths,
        "valid": np.arange(num_nodes) < num_valid,
        "position_ids": committed_len + depths,
        "cache_positions": committed_len + np.arange(num_nodes),
        "visible": visible,
        "target_token_ids": choices,
        "accepted_nodes": np.array(accepted, np.int64),
        "final_token_id": final_token_id,
        "emitted_token_ids": np.array([*token_ids[accepted], final_token_id]),
        "path_indices": committed_len + np.array([0, *accepted]),
    }
    return KnownStep(0, 0, step, columns)


def _drive_all(
    drive: Drive, steps: list[KnownStep], folder: Path
) -> tuple[dict[int, dict[str, Any]], list[str]]:
    """Let the driver record; return the rows by step and what went wrong on the way."""
    wrong: list[str] = []
    with open_trace(folder, engine="conformance", level="full") as trace:
        for known in steps:
            try:
                drive(trace, known)
            except Exception as problem:  # noqa: BLE001 whatever the author's code raises is a result
                wrong.append(f"step {known.step}: the driver raised {type(problem).__name__}: {problem}")
    if not verify_run(folder).is_whole:
        wrong.append("the recorded run is not whole")
    path = open_run(folder).path("fused")
    return {int(row["step"]): row for row in path}, wrong


def _compare(steps: list[KnownStep], rows: Mapping[int, dict[str, Any]]) -> tuple[set[str], list[str]]:
    """Return the columns that came back equal in every step, and sentences about the others."""
    wrong = [f"step {known.step} was not recorded" for known in steps if known.step not in rows]
    steps = [known for known in steps if known.step in rows]
    recorded: set[str] = set()
    for name in steps[0].columns if steps else ():
        values = [(known.step, known.columns[name], rows[known.step][name]) for known in steps]
        if all(back is None for _, _, back in values):
            continue
        differing = [step for step, given, back in values if back is None or not np.array_equal(given, back)]
        recorded |= set() if differing else {name}
        wrong += [f"{name} of step {step} came back different" for step in differing]
    return recorded, wrong


def _misshapen_accepted(drive: Drive, names: list[str], folder: Path) -> list[str]:
    """Hand the driver one array too long at a time; the recorder refuses it unless the driver bends it."""
    wrong: list[str] = []
    honest = known_steps()[0]
    for name in names:
        array = np.asarray(honest.columns[name])
        columns = {**honest.columns, name: np.concatenate([array, array[-1:]])}
        known = KnownStep(0, 0, 0, columns, misshapen=name)
        rows, refused = _drive_all(drive, [known], folder / name)
        if rows and not refused and not any(row["incomplete"] for row in rows.values()):
            wrong.append(f"{name} with one element too many was recorded without an error")
    return wrong
