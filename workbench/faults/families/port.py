"""Faults of a port's seam: a stage gives something that is no result of that stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

from tracing.stages import Tensorized
from workbench.faults.fault import Fault
from workbench.faults.placement import Scene, after


def _nothing(_: Any, __: Scene) -> None:
    """The function has no return statement."""


def _one_short(made: Tensorized, _: Scene) -> Tensorized:
    return replace(made, position_ids=made.position_ids[:-1])


def _as_floats(made: Tensorized, _: Scene) -> Any:
    return replace(made, depths=made.depths.astype(np.float64))


MALFORMED: Final = ("JUDGE-SHAPE", "ROW001", "RUN-STAGE-RAISED")

FAULTS: Final = (
    Fault(
        id="F-PORT-01",
        name="draft-returns-nothing",
        about="The draft stage writes into its state and forgets to return the tree.",
        stage="draft",
        seen_in=("openvino#38079",),
        noticed_by=MALFORMED,
        place=lambda: after("draft", _nothing),
    ),
    Fault(
        id="F-PORT-02",
        name="array-one-short",
        about="One array of a step is a row shorter than the others.",
        stage="tensorize",
        seen_in=("sgl#26866", "va#7290"),
        noticed_by=MALFORMED,
        place=lambda: after("tensorize", _one_short),
    ),
    Fault(
        id="F-PORT-03",
        name="integers-as-floats",
        about="An array of integers comes back as floats.",
        stage="tensorize",
        seen_in=("sgl#40419",),
        noticed_by=MALFORMED,
        place=lambda: after("tensorize", _as_floats),
    ),
)
