"""Decodes with errors in place, in lockstep, and locates the first finding: was it there?"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from placements.placing import Place, drafter_places, placed, teacher_places
from tracing.moment import Moment
from workbench.faults.bench import tiny_bench
from workbench.faults.experiment import Setup, faulty_path, run_lockstep
from workbench.faults.placement import Placement
from workbench.faults.tiny import tiny_pair
from workbench.locate.culprit import Culprit
from workbench.locate.located import Located, judged, locate
from workbench.locate.scene import Subject, scene_at
from workbench.lockstep.session.job import LockstepOptions
from workbench.lockstep.session.turns import Turn
from workbench.lockstep.truth.reference_runner import ReferenceRunner

LAYERS: Final = 4
DTYPES: Final = ("float32", "bfloat16")
SIZES: Final = {"float32": 0.25, "bfloat16": 1.0}
"""Of an error, in units of its row's root mean square."""
HALF_OF_MANY: Final = 2


@dataclass(frozen=True, slots=True)
class Case:
    """Errors in one run.

    Attributes:
        kind: `row`, `head`, `element`, `pair` or `noise`.
        dtype: Of the path.
        places: One error, or two in the same stage.
    """

    kind: str
    dtype: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was located.

    Attributes:
        is_noticed: Whether lockstep found anything; where not, the stage was opened anyway.
        is_named: Exactly the tensors with an error are named, so layer and operator are right.
        is_placed: Their row, and head or element where the error has one, are right too.
        named: What was named.
    """

    case: Case
    is_noticed: bool
    is_named: bool
    is_placed: bool
    named: tuple[str, ...]


@cache
def setup_of(dtype: str) -> Setup:
    """Return the job: a teacher of four layers, and its drafter."""
    plain = tiny_bench().setup("plain")
    settings = replace(plain.settings, max_new_tokens=8)
    pair = tiny_pair(layers=LAYERS, aux_layers=(1, 2, LAYERS))
    return replace(plain, dtype=dtype, pair=pair, settings=settings)


def cases(seed: int) -> Iterator[Case]:
    """Yield each operator, layer and stage with errors at places that follow from a seed."""
    pair, chance = setup_of(DTYPES[0]).pair, random.Random(seed)
    by_stage = {
        "prefill": teacher_places(pair, "prefill"),
        "verify": teacher_places(pair, "verify"),
        "draft": [place for forward in range(3) for place in drafter_places(pair, forward)],
    }
    for dtype in DTYPES:
        for places in by_stage.values():
            sized = [replace(place, size=SIZES[dtype]) for place in places]
            for place in sized:
                row = replace(place, row=_row(place, chance))
                yield Case("row", dtype, (row,))
                if place.has_heads:
                    head = chance.randrange(place.width or pair.teacher.num_heads)
                    yield Case("head", dtype, (replace(row, head=head),))
                element = replace(row, element=chance.randrange(16), size=4 * place.size)
                if place.has_heads:
                    element = replace(element, head=chance.randrange(place.width or pair.teacher.num_heads))
                yield Case("element", dtype, (element,))
            for _ in range(15):
                first, second = chance.sample(sized, HALF_OF_MANY)
                yield Case("pair", dtype, (first, replace(second, row=_row(second, chance))))
            for place in chance.sample(sized, 15):
                yield Case("noise", dtype, (replace(place, noise=True),))


def _row(place: Place, chance: random.Random) -> int:
    """Return a row that every such call has; the last one where only that may be computed."""
    if place.stage == "verify":
        return chance.randrange(12)
    if place.stage == "draft":
        return chance.randrange(4) if place.forward else -1
    return -1 if place.name == "teacher.logits" else chance.randrange(5)


def measure(case: Case) -> Outcome:
    """Plant, decode, locate."""
    setup, placement = setup_of(case.dtype), placed(*case.places)
    if case.kind == "noise":
        moment = Moment(0, 0, 0, case.places[0].stage)
        subject = subject_of(setup, placement)
        located = judged(subject, scene_at(subject, moment), moment)
        return Outcome(case, True, not located.culprits, not located.culprits, _named(located))
    with TemporaryDirectory(prefix="specwb-") as folder:
        findings = run_lockstep(setup, placement, Path(folder) / "run").findings
    first = next((finding for finding in findings if finding.severity == "error"), None)
    subject = subject_of(setup, placement)
    if first is None:
        moment = Moment(0, 0, 0, case.places[0].stage)
        return _outcome(case, judged(subject, scene_at(subject, moment), moment), is_noticed=False)
    return _outcome(case, locate(subject, first), is_noticed=True)


def _outcome(case: Case, located: Located, *, is_noticed: bool) -> Outcome:
    return Outcome(case, is_noticed, *compared(located, case.places), _named(located))


def compared(located: Located, places: Sequence[Place]) -> tuple[bool, bool]:
    """Return whether exactly these tensors are named, and whether their places in them are right."""
    wanted = {(place.name, place.forward): place for place in places}
    is_named = {(each.name, each.forward) for each in located.culprits} == set(wanted)
    is_placed = is_named and all(
        _is_there(each, wanted[each.name, each.forward], located.moment) for each in located.culprits
    )
    return is_named, is_placed


def _named(located: Located) -> tuple[str, ...]:
    return tuple(f"{each.name} {each.forward}" for each in located.culprits) or (located.conclusion,)


def _is_there(culprit: Culprit, place: Place, moment: Moment) -> bool:
    extent = culprit.extent
    right = [extent.elements == (None if place.element is None else (place.element,))]
    if place.head is not None:
        right.append(extent.heads == (place.head,))
    if place.row is not None:
        right.append(extent.rows is None or len(extent.rows) == 1)
        if place.row >= 0:
            right.append(extent.place[0] == place.row and extent.rows == (place.row,))
        elif moment.step == 0:
            right.append(extent.place[0] == len(setup_of(DTYPES[0]).prompt) - 1)
    return all(right)


def subject_of(setup: Setup, placement: Placement) -> Subject:
    """Return the path of a job with errors in it, ready to be looked into."""
    facts = setup.model_facts
    return Subject(
        faulty_path(setup, placement),
        ReferenceRunner(setup.pair, setup.settings, path_dtype=setup.dtype, model_facts=facts),
        setup.pair,
        [Turn(0, 0, lambda before: [*before, *setup.prompt])],
        LockstepOptions(settings=setup.settings, generator="philox_edges"),
        setup.dtype,
    )


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the page's table: counts by precision and kind, and their sum."""
    lines = [
        "| precision | error | planted | noticed | named exactly | placed exactly | missed | then named |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for dtype in DTYPES:
        for kind in ("row", "head", "element", "pair", "noise"):
            own = [each for each in outcomes if each.case.dtype == dtype and each.case.kind == kind]
            lines.append(_row_of(dtype, kind, own))
    faulty = [each for each in outcomes if each.case.kind != "noise"]
    return [*lines, _row_of("both", "all but noise", faulty)]


def _row_of(dtype: str, kind: str, own: Sequence[Outcome]) -> str:
    noticed = [each for each in own if each.is_noticed]
    others = [each for each in own if not each.is_noticed]
    cells = (
        len(own),
        len(noticed),
        _share(noticed, sum(each.is_named for each in noticed)),
        _share(noticed, sum(each.is_placed for each in noticed)),
        len(others),
        _share(others, sum(each.is_named for each in others)),
    )
    return f"| {dtype} | {kind} | {' | '.join(map(str, cells))} |"


def _share(every: Sequence[Outcome], number: int) -> str:
    return f"{number} ({number / len(every):.1%})" if every else "-"
