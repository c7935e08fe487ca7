"""Faults of a port's seam: a stage returns something that is no result of that stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

from tracing.stages import Tensorized
from workbench.faults.fault import fault
from workbench.faults.placement import Scene

MALFORMED: Final = ("JUDGE-SHAPE", "ROW001", "RUN-STAGE-RAISED")


@fault("F-PORT-01", "openvino#38079", stage="draft", noticed_by=MALFORMED)
def draft_returns_nothing(_: Any, __: Scene) -> None:
    """The draft stage writes into its state and forgets to return the tree."""


@fault("F-PORT-02", "sgl#26866", "va#7290", stage="tensorize", noticed_by=MALFORMED)
def array_one_short(made: Tensorized, _: Scene) -> Tensorized:
    """One array of a step is a row shorter than the others."""
    return replace(made, position_ids=made.position_ids[:-1])


@fault("F-PORT-03", "sgl#40419", stage="tensorize", noticed_by=MALFORMED)
def integers_as_floats(made: Tensorized, _: Scene) -> Any:
    """An array of integers comes back as floats."""
    return replace(made, depths=made.depths.astype(np.float64))
