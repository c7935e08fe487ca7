"""Static shapes: what a captured graph replays has to lie where it lay, in the same form, and hold this step.

A path declares the inputs of its verify stage (`DecodePath.static_inputs`). After each launch of verify they
are read and compared: with the first launch (address, shape, strides, dtype), with what operators were given,
and with the step (contents).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch

from tracing.finding import Finding
from tracing.moment import Moment
from tracing.stages import BoolArray, Tensorized
from workbench.npu.launches import LaunchArgument, LaunchWatch, MemoryLayout

ADDRESS: Final = "NPU-STATIC-ADDRESS"
FORM: Final = "NPU-STATIC-FORM"
OPERATOR: Final = "NPU-STATIC-OPERATOR"
CONTENTS: Final = "NPU-STATIC-CONTENTS"
EXACT: Final = ("token_ids", "position_ids", "slots")
"""Inputs that hold a column of the step."""
MASK: Final = "blocked"
"""The mask in the device's form, True is left out; `blocked_wW` is that of layers with a window W."""
COLUMN_OF: Final = {MASK: "visible", "block_table": "slots"}


@dataclass(slots=True)
class StaticInputs:
    """Follows the inputs of one path's verify launches.

    Attributes:
        findings: What was found and not taken yet; each rule is reported once for each input.
        num_launches: How many launches were looked at.
        launches: Inputs as operators got them at the last launch.
    """

    findings: list[Finding] = field(default_factory=list)
    num_launches: int = 0
    launches: Sequence[LaunchArgument] = ()
    _first: dict[str, MemoryLayout] = field(default_factory=dict)
    _before: dict[str, Any] = field(default_factory=dict)
    _reported: set[tuple[str, str]] = field(default_factory=set)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note what the operators of a launch are given."""
        with LaunchWatch() as watch:
            yield
        self.launches = watch.seen

    def look(self, inputs: Mapping[str, torch.Tensor], step: Tensorized, at: Moment) -> None:
        """Compare the inputs of the launch that just ran."""
        self.num_launches += 1
        for name, tensor in inputs.items():
            self._layout(name, MemoryLayout.of(tensor), at)
            self._contents(name, tensor.detach().cpu().numpy(), step, at)
        self._operators({name: MemoryLayout.of(tensor) for name, tensor in inputs.items()}, at)

    def take(self) -> tuple[Finding, ...]:
        """Return and forget what was found."""
        found, self.findings = tuple(self.findings), []
        return found

    def _layout(self, name: str, now: MemoryLayout, at: Moment) -> None:
        first = self._first.setdefault(name, now)
        if now.form != first.form:
            self._report(FORM, name, at, now.form, first.form, "has another form than at the first launch")
        elif now.address != first.address:
            came, was = hex(now.address), hex(first.address)
            self._report(ADDRESS, name, at, came, was, "lies elsewhere than at the first launch")

    def _operators(self, declared: Mapping[str, MemoryLayout], at: Moment) -> None:
        """Compare with what operators were given; slots of rows copied in the same stage are lawful."""
        for name in dict.fromkeys(each.name for each in self.launches):
            places = {layout.address for own, layout in declared.items() if own.partition("_w")[0] == name}
            given = [each for each in self.launches if each.name == name and not each.is_template]
            stray = [each for each in given if each.layout.address not in places]
            if not places or not stray or (name == "slots" and len(stray) < len(given)):
                continue
            came, was = hex(stray[0].layout.address), " or ".join(map(hex, sorted(places)))
            what = f"is not what {stray[0].operator} was given as {stray[0].argument}"
            self._report(OPERATOR, name, at, came, was, what)

    def _contents(self, name: str, held: Any, step: Tensorized, at: Moment) -> None:
        expected = expected_contents(name, held, step)
        before, self._before[name] = self._before.get(name), held.copy()
        if expected is None or np.array_equal(held, expected):
            return
        stale = before is not None and np.array_equal(held, before)
        if name == MASK and not stale:
            return  # what a mask of this launch hides is judged as `visible`, node by node
        place = tuple(int(each) for each in np.argwhere(held != expected)[0])
        what = "holds those of the launch before" if stale else "does not hold those of the step"
        at_place = f"{what}, first at {list(place)}"
        self._report(CONTENTS, name, at, held[place].item(), expected[place].item(), at_place)

    def _report(self, rule: str, name: str, at: Moment, came: Any, was: Any, what: str) -> None:  # noqa: PLR0917 all of one finding
        if (rule, name) in self._reported:
            return
        self._reported.add((rule, name))
        self.findings.append(
            Finding(
                verdict="structural",
                guilty="fused",
                moment=at,
                column=COLUMN_OF.get(name.partition("_w")[0], name),
                rule=rule,
                message=f"static input {name} {what}; a captured graph replays what lies at its own address",
                path="fused",
                fused=came,
                reference=was,
            )
        )


def expected_contents(name: str, held: Any, step: Tensorized) -> Any:
    """Return what an input has to hold at a step, in its own shape; None where nobody knows."""
    if name in EXACT:
        column = getattr(step, name)
        if column is None or held.size != len(column):
            return None
        return np.asarray(column).reshape(held.shape)
    if name == MASK and held.ndim >= 2:
        return _expected_mask(held, step)
    return None


def _expected_mask(held: Any, step: Tensorized) -> BoolArray | None:
    """Return the mask of a layer without a window: prefix for valid rows, tree as built, nothing behind."""
    rows, num_nodes = held.reshape(-1, held.shape[-1]), len(step.token_ids)
    start = int(step.cache_positions[0])
    if held.dtype != np.bool_ or len(rows) != num_nodes or rows.shape[1] < start + num_nodes:
        return None
    expected = np.ones_like(rows)
    expected[:, :start] = ~step.valid[:, None]
    expected[:, start : start + num_nodes] = ~step.visible
    made: BoolArray = expected.reshape(held.shape)
    return made


def checked_inputs(given: Any) -> Mapping[str, torch.Tensor]:
    """Return the inputs that a window gave.

    Raises:
        TypeError: They are no tensors by name.
    """
    if not isinstance(given, Mapping) or not all(
        isinstance(name, str) and isinstance(each, torch.Tensor) for name, each in given.items()
    ):
        raise TypeError("static_inputs should give tensors by name")
    return given
