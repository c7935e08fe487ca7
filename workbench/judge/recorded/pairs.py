"""Compares the two rows of a step: in a staged run the second path was fed the first one's values.

What follows from these values alone is equal to the bit. Logits and scores are computed by each path; without
whole rows and samples their rounding is not known, so only what no rounding explains is a finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from invariants.constraint import ALTERED
from tracing.columns import COLUMN_BY_NAME
from tracing.errors import TraceError
from tracing.finding import Finding
from tracing.manifest_facts import table
from tracing.moment import Moment
from tracing.path_reader import PathReader
from tracing.reader import Run
from tracing.run_facts import ModelFacts, model_facts_of
from workbench.judge import fed
from workbench.judge.places import axes_of, entry, named, node_at
from workbench.judge.rules import finding_of
from workbench.judge.share import Part

Row = Mapping[str, Any]
COLUMNS: Final = "JUDGE-PATHS-COLUMN"
VALUES: Final = "JUDGE-PATHS-VALUES"
MISSING: Final = "JUDGE-ALIGN-MISSING"
PAIRED: Final = (COLUMNS, VALUES, MISSING)
"""Rules of this comparison."""
EQUAL: Final = (
    *("context_token_ids", "proposer", "committed_len", "beam_flat_ids", "token_ids", "parents", "depths"),
    *("valid", "position_ids", "cache_positions", "visible", "prefix_visible", "other_visible"),
    *("accepted_nodes", "final_token_id", "emitted_token_ids", "path_indices", "committed_len_after"),
)
"""Columns that are equal wherever both rows have them; entries of pads may differ."""
DISTANCES: Final = "draft_top1_offsets"
FAR: Final = {"float32": (1 / 64, 1 / 16), "half": (1 / 4, 1 / 2)}
"""How far logits, and cumulative scores, may differ: a share of their largest magnitude, at least 1."""


NOT_STAGED: Final = "the run does not state that one path was fed the other's values (lockstep: staged)"


@dataclass(frozen=True, slots=True)
class Site:
    """A compared step, and the names of the two paths."""

    moment: Moment
    under_test: str
    reference: str


@dataclass(slots=True)
class Compared:
    """Result of comparing two paths step by step.

    Attributes:
        reason: Why they were not compared, or empty.
        num_steps: Steps that both have, or should.
        num_differing: Steps with a finding.
        num_findings: All of them.
        findings: As many as were to be kept.
        num_alone: Steps that one path alone has.
    """

    reason: str = ""
    num_steps: int = 0
    num_differing: int = 0
    num_findings: int = 0
    findings: list[Finding] = field(default_factory=list)
    num_alone: int = 0

    @property
    def both(self) -> Part:
        """Steps of both paths, of those of either."""
        return Part(self.num_steps, self.num_steps + self.num_alone)

    def add(self, found: list[Finding], limit: int | None) -> None:
        """Take in one step."""
        self.num_steps += 1
        self.num_differing += bool(found)
        self.num_findings += len(found)
        room = len(found) if limit is None else max(limit - len(self.findings), 0)
        self.findings.extend(found[:room])


def compare_paths(run: Run, limit: int | None) -> Compared | None:
    """Compare the two paths of a staged run, or say why they are not; None where there are no two.

    Args:
        run: The run.
        limit: Findings kept; None keeps all.

    Raises:
        TraceError: A batch cannot be unpacked.
    """
    if len(run.path_names) < 2:
        return None
    if run.manifest.get("lockstep") != "staged":
        is_free = run.manifest.get("lockstep") == "free"
        return Compared("each path lived on its own outputs" if is_free else NOT_STAGED)
    names = fed.pair_of(run)
    if names is None:
        listed = ", ".join(run.path_names)
        return Compared(
            f"which two of the paths {listed} correspond is not known: none are fused and reference"
        )
    under_test, reference = (run.path(name) for name in names)
    dtype = table(under_test.entry, "info").get("dtype", "float32")
    far = FAR["float32" if dtype == "float32" else "half"]
    compared, num_paired = Compared(), 0
    hidden = _of_one_layer(model_facts_of(run.manifest))
    for number, row in enumerate(under_test):
        site = Site(Moment.of_row(row), *names)
        other = same_step(reference, site.moment)
        if other is not None:
            num_paired += 1
            compared.add(list(differences({**row, **hidden}, other, site, far)), limit)
        elif number < reference.num_steps:  # later ones may have been in the making, or are lost
            message = (
                f"the step is recorded on the {site.under_test} path and not on the {site.reference} path"
            )
            compared.add([_finding(MISSING, "step", site, message)], limit)
        else:
            compared.num_alone += 1
    compared.num_alone += max(reference.num_steps - num_paired, 0)
    if run.status != "complete" and compared.num_alone == 1:
        compared.num_alone = 0
    return compared


def _of_one_layer(facts: ModelFacts | None) -> Row:
    """Return nulls for the columns that the two paths may show of different layers, whose windows differ."""
    one = facts is None or len(facts.shown_spans) == 1
    return {} if one else {"visible": None, "prefix_visible": None}


def same_step(path: PathReader, at: Moment) -> Row | None:
    """Return the step of a path at a moment, or None if it is not recorded."""
    try:
        return path.step(path.find(at))
    except TraceError:
        return None


def differences(row: Row, other: Row, at: Site, far: tuple[float, float]) -> Iterator[Finding]:
    """Yield what differs between the two rows of a step; one finding per column, at its first entry."""
    valid = row.get("valid")
    for name in EQUAL:
        ours, theirs = row.get(name), other.get(name)
        if ours is not None and theirs is not None:
            place = _first_difference(name, ours, theirs, valid)
            if place is not None:
                yield _column_finding(name, ours, theirs, place, at)
    ours, theirs = row.get("stop_reason"), other.get("stop_reason")
    if ours != theirs and row.get("accepted_nodes") is not None and other.get("accepted_nodes") is not None:
        yield _column_finding("stop_reason", ours, theirs, (), at)
    yield from _distances(row, other, at)
    yield from _far_logits(row, other, at, far[0])
    yield from _far_scores(row, other, at, far[1])


def _first_difference(name: str, ours: Any, theirs: Any, valid: Any) -> tuple[int, ...] | None:
    """Return where two values first differ, `()` for the whole value, None when they are equal."""
    if np.shape(ours) != np.shape(theirs):
        return ()
    if not isinstance(ours, np.ndarray):
        return None if ours == theirs else ()
    differs = (np.ma.getdata(ours) != np.ma.getdata(theirs)) | _only_one_null(ours, theirs)
    differs &= ~(np.ma.getmaskarray(ours) & np.ma.getmaskarray(theirs))
    axes = COLUMN_BY_NAME[name].axes or ()
    if name != "valid" and axes[:1] == ("N",) and np.shape(valid) == differs.shape[:1]:
        differs = differs & _for_nodes(valid, differs.ndim)
    return tuple(int(index) for index in np.argwhere(differs)[0]) if differs.any() else None


def _only_one_null(ours: Any, theirs: Any) -> NDArray[np.bool_]:
    """Return where one of two arrays of one shape has an entry and the other has none."""
    found: NDArray[np.bool_] = np.ma.getmaskarray(ours) != np.ma.getmaskarray(theirs)
    return found


def _for_nodes(valid: Any, ndim: int) -> NDArray[np.bool_]:
    return np.asarray(valid, dtype=np.bool_).reshape(-1, *(1,) * (ndim - 1))


def _column_finding(name: str, ours: Any, theirs: Any, place: tuple[int, ...], at: Site) -> Finding:
    left, right = entry(ours, place), entry(theirs, place)
    return _finding(
        COLUMNS,
        name,
        at,
        f"{named(name, place)} is {left} on the {at.under_test} path, {right} on the {at.reference} path, "
        "which was fed the same",
        node=node_at(axes_of(name), place),
        fused=left,
        reference=right,
    )


def _distances(row: Row, other: Row, at: Site) -> Iterator[Finding]:
    """Compare which nodes have distances: those that were expanded; the values hang on rounding."""
    ours, theirs = row.get(DISTANCES), other.get(DISTANCES)
    if ours is None or theirs is None or np.shape(ours) != np.shape(theirs):
        return  # probes may have other heads
    places = np.argwhere(_only_one_null(ours, theirs))
    if len(places):
        yield _column_finding(DISTANCES, ours, theirs, tuple(int(index) for index in places[0]), at)


def _far_logits(row: Row, other: Row, at: Site, share: float) -> Iterator[Finding]:
    """Compare the recorded logits of tokens that both rows name; rows of four and more must name one."""
    if row.get("logits_kind") in ALTERED:
        return  # a grammar, a bias or a temperature is in them
    for node, ours, theirs in logit_pairs(row, other):
        worst = farthest(ours, theirs)
        if worst is None and min(len(ours), len(theirs)) < 4:
            continue
        if worst is None:
            message = f"the best {len(ours)} tokens after node {node} have none in common on the two paths"
            yield _finding(VALUES, "target_top_ids", at, message, node=node)
            return
        allowed = share * max(1.0, *map(abs, theirs.values()))
        if not abs(ours[worst] - theirs[worst]) <= allowed:
            what = f"the logit of token {worst} after node {node}"
            yield _gap(at, "target_top_logits", node, (ours[worst], theirs[worst], allowed), what)
            return


def _far_scores(row: Row, other: Row, at: Site, share: float) -> Iterator[Finding]:
    ours, theirs, valid = row.get("draft_logprobs"), other.get("draft_logprobs"), row.get("valid")
    if ours is None or theirs is None or valid is None:
        return
    if not np.shape(ours) == np.shape(theirs) == np.shape(valid):
        return
    allowed = share * np.maximum(1.0, np.abs(theirs))
    with np.errstate(invalid="ignore"):  # of equal infinities
        near = (ours == theirs) | (np.abs(ours - theirs) <= allowed)
    wrong = np.flatnonzero(np.asarray(valid, dtype=np.bool_) & ~near)
    if wrong.size:
        node = int(wrong[0])
        values = (float(ours[node]), float(theirs[node]), float(allowed[node]))
        yield _gap(at, "draft_logprobs", node, values, f"the score of node {node}")


def _gap(at: Site, column: str, node: int, values: tuple[float, float, float], what: str) -> Finding:
    ours, theirs, allowed = values
    message = f"{what} is {ours:.6g} on the {at.under_test} path and {theirs:.6g} on the {at.reference} path"
    more = {"fused": ours, "reference": theirs, "allowance": allowed, "gap": abs(ours - theirs)}
    return _finding(VALUES, column, at, f"{message}; no rounding explains that", node=node, **more)


def _finding(rule: str, column: str, at: Site, message: str, node: int | None = None, **more: Any) -> Finding:
    stage = COLUMN_BY_NAME[column].stage
    where = at.moment.at("draft" if stage == "any" else stage, node)
    return finding_of(rule, where, column, message, path=at.under_test, **more)


def recorded_logits(row: Row, node: int) -> dict[int, float]:
    """Return the recorded logits of a node by token id."""
    ids, logits = row.get("target_top_ids"), row.get("target_top_logits")
    if ids is None or logits is None or np.shape(ids) != np.shape(logits) or node >= len(ids):
        return {}
    return dict(zip(np.asarray(ids[node]).tolist(), np.asarray(logits[node]).tolist(), strict=True))


def logit_pairs(row: Row, other: Row) -> Iterator[tuple[int, dict[int, float], dict[int, float]]]:
    """Yield each valid node with its recorded logits on both paths."""
    for node in np.flatnonzero(np.asarray(row.get("valid", ()), dtype=np.bool_)).tolist():
        yield node, recorded_logits(row, node), recorded_logits(other, node)


def farthest(ours: Mapping[int, float], theirs: Mapping[int, float]) -> int | None:
    """Return the token whose logit differs most, None where both name no token."""
    return max(ours.keys() & theirs.keys(), key=lambda token: abs(ours[token] - theirs[token]), default=None)
