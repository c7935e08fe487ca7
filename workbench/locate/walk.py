"""Each tensor of a forward against what its own operator makes of what the path gave before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reference.model import ReferenceModels
from tracing.intermediates import place_of
from workbench.locate.culprit import Culprit, TensorRows, culprit_of, exact_culprit, is_wrong
from workbench.locate.forwards import Forward
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.truth.reference_runner import ReferenceRunner


@dataclass(frozen=True, slots=True)
class Growth:
    """How far a tensor is off, in units of what rounding allows; above 1 is too far.

    Attributes:
        name: Full name.
        forward: Number of the forward within its stage.
        alone: Against its own inputs.
        accumulated: Against the inputs of the stage.
    """

    name: str
    forward: int
    alone: float
    accumulated: float


@dataclass(slots=True)
class Walked:
    """What a forward showed.

    Attributes:
        culprits: In order of the data flow, each judged alone.
        growth: Of the tensors that leave a layer, and what the forward ends in.
        num_judged: Tensors that were judged.
        unopened: Tensors that were not, with the reason.
    """

    culprits: list[Culprit] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    num_judged: int = 0
    unopened: list[str] = field(default_factory=list)


def walk(forward: Forward, runner: ReferenceRunner, dtype: str) -> Walked:
    """Judge all tensors of a forward."""
    return _Walk(forward, runner, dtype).run()


@dataclass(slots=True)
class _Walk:
    forward: Forward
    runner: ReferenceRunner
    dtype: str
    found: Walked = field(default_factory=Walked)

    def run(self) -> Walked:
        forward, found = self.forward, self.found
        found.unopened += [f"{name}: {why}" for name, why in forward.misshapen.items()]
        found.culprits += self._inputs()
        names = [name for name in forward.graph if name in forward.own]
        order = list(forward.graph)
        found.culprits += sorted(self._alone(names), key=lambda culprit: order.index(culprit.name))
        found.growth += self._growth([name for name in names if _is_milestone(name)])
        return found

    def _inputs(self) -> Iterable[Culprit]:
        """What the forward was given, where that is known."""
        for name in ("token_ids", "position_ids", "features", "hidden_in"):
            full = f"{self.forward.network}.{name}"
            own, known = self.forward.own.get(full), self.forward.inputs.get(full)
            if own is None or known is None or len(own) != len(known):
                continue
            self.found.num_judged += 1
            rows = self._rows(full, own, known, [known])
            about = self._about(full, "input")
            if not own.is_floating_point():
                wrong = exact_culprit(rows, **about)
                if wrong is not None:
                    yield wrong
            elif is_wrong(rows.measured(self.dtype)).any():
                yield culprit_of(rows, self.dtype, **about)

    def _alone(self, names: Sequence[str]) -> Iterable[Culprit]:
        """Every tensor that its own inputs do not give."""
        models, forward = self.runner.models, self.forward
        truth = forward.alone(models[0], names)
        names = [name for name in names if name in truth and name not in forward.inputs]
        self.found.num_judged += len(names)
        exact = [name for name in names if not truth[name].is_floating_point()]
        for name in exact:
            wrong = exact_culprit(self._rows(name, forward.own[name], truth[name], ()), **self._about(name))
            if wrong is not None:
                yield wrong
        waiting = [name for name in names if name not in exact]
        samples: list[dict[str, Tensor]] = []
        drawn: Sequence[ReferenceModels] = models[1:]
        rows: dict[str, TensorRows] = {}
        while waiting and drawn:
            samples += [forward.alone(each, waiting) for each in drawn]
            rows = {
                name: self._rows(name, forward.own[name], truth[name], [each[name] for each in samples])
                for name in waiting
            }
            waiting = [name for name in waiting if is_wrong(rows[name].measured(self.dtype)).any()]
            drawn = self.runner.more(len(samples))
        yield from (culprit_of(rows[name], self.dtype, **self._about(name)) for name in waiting)

    def _growth(self, names: Sequence[str]) -> Iterable[Growth]:
        models, forward = self.runner.models, self.forward
        alone = [forward.alone(each, names) for each in models]
        whole = [forward.whole(each) for each in models]
        for name in names:
            if name in whole[0]:
                yield Growth(name, forward.number, self._ratio(name, alone), self._ratio(name, whole))

    def _ratio(self, name: str, made: Sequence[dict[str, Tensor]]) -> float:
        rows = self._rows(name, self.forward.own[name], made[0][name], [each[name] for each in made[1:]])
        measured = rows.measured(self.dtype)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = np.fmax(
                measured.error / measured.allowance.largest, measured.error_rms / measured.allowance.rms
            )
        return float(np.max(np.where(np.isnan(ratios), np.inf, ratios), initial=0.0))

    def _rows(self, name: str, own: Tensor, truth: Tensor, samples: Sequence[Tensor]) -> TensorRows:
        """Return the rows that mean something; of the longer side the last ones."""
        numbers, judged = _numbered(self.forward, name, len(own))

        def rows(tensor: Tensor) -> NDArray[Any]:
            return host_floats(tensor[-len(own) :])[judged]

        return TensorRows(name, rows(own), rows(truth), tuple(map(rows, samples)), numbers[judged])

    def _about(self, name: str, operator: str = "") -> dict[str, Any]:
        return {
            "operator": operator or place_of(name).tensor.operator,
            "forward": self.forward.number,
            "counted": self.forward.rows,
            "between": () if operator else self.forward.missing(name),
        }


def _numbered(forward: Forward, name: str, count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return number and meaning of the last rows of a tensor; keys and values begin with the cache's."""
    num_rows = forward.num_rows
    judged = np.ones(num_rows, np.bool_) if forward.judged is None else forward.judged
    numbers = np.arange(num_rows, dtype=np.int64) + forward.first_row
    if name.rpartition(".")[2] in ("keys", "values"):
        judged = np.concatenate([np.ones(forward.num_past, np.bool_), judged])
        numbers = np.arange(len(judged), dtype=np.int64)
    return numbers[-count:], judged[-count:]


def _is_milestone(name: str) -> bool:
    """Whether a tensor leaves a layer, or its forward."""
    return name.rpartition(".")[2] in ("output", "logits")
