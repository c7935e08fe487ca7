"""A tiny path with errors in it, ready to be looked into."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tracing.moment import Moment
from tracing.stages import DecodePath
from workbench.faults.bench import tiny_bench
from workbench.faults.experiment import Setup, faulty_path
from workbench.faults.placement import Placement
from workbench.locate.located import Located, judged
from workbench.locate.scene import Subject, scene_at
from workbench.lockstep.session.job import LockstepOptions
from workbench.lockstep.session.turns import Turn
from workbench.lockstep.truth.reference_runner import ReferenceRunner


def setup_of(dtype: str = "float32", **settings: Any) -> Setup:
    plain = tiny_bench().setup("plain")
    return replace(plain, dtype=dtype, settings=replace(plain.settings, **settings))


def subject_of(setup: Setup, placement: Placement | None = None, path: DecodePath | None = None) -> Subject:
    facts = setup.model_facts
    return Subject(
        path or faulty_path(setup, placement or Placement()),
        ReferenceRunner(setup.pair, setup.settings, path_dtype=setup.dtype, model_facts=facts),
        setup.pair,
        [Turn(0, 0, lambda before: [*before, *setup.prompt])],
        LockstepOptions(settings=setup.settings),
        setup.dtype,
    )


def looked_into(subject: Subject, stage: str, step: int = 0) -> Located:
    """Judge a stage whether or not anything was found in it."""
    moment = Moment(0, 0, step, stage)
    return judged(subject, scene_at(subject, moment), moment)
