"""Faults of the teacher's features on their way to the drafter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch

from tracing.stages import DecodePath, Prefilled, Verified
from workbench.faults.fault import fault
from workbench.faults.placement import Placement, Scene, before, engine_of, on_path, on_stages

PREFILL: Final = ("JUDGE-PREFILL-FEATURES",)
VERIFY: Final = ("JUDGE-VERIFY-FEATURES", "JUDGE-ROW-MOVED")


def everywhere(spoil: Callable[[torch.Tensor], torch.Tensor]) -> Placement:
    """Spoil the features that prefill and verify return, and those that prefill passes to the first draft."""

    def at_prefill(made: Prefilled, scene: Scene) -> Prefilled:
        scene.state.memory.new_rows = replace(scene.state.memory.new_rows, features=spoil(made.features))
        return replace(made, features=spoil(made.features))

    def at_verify(made: Verified, _: Scene) -> Verified:
        return replace(made, features=spoil(made.features))

    return on_stages(after={"prefill": at_prefill, "verify": at_verify})


@fault("F-FEAT-01", "sgl#25454", "sgl#32334", stage="prefill", noticed_by=PREFILL, placed=on_path)
def aux_layers_off_by_one(path: DecodePath) -> DecodePath:
    """The tap is what leaves the named layer where the drafter was trained on what enters it.

    The last boundary has none after it and stays.
    """
    teacher: Any = engine_of(path).teacher  # the models of a path are its own
    taps = vars(teacher)["_taps"]
    moved = tuple(min(layer + 1, teacher.num_layers) for layer in taps.layers)
    vars(teacher)["_taps"] = replace(taps, layers=moved)
    return path


@fault("F-FEAT-02", "lightseekorg/tokenspeed#526", stage="verify", noticed_by=VERIFY)
def taps_swapped(made: Verified, _: Scene) -> Verified:
    """Low and middle features of a tree's rows change places."""
    low, middle, high = made.features.chunk(3, dim=-1)
    return replace(made, features=torch.cat([middle, low, high], dim=-1))


@fault("F-FEAT-03", "speculators#313", stage="prefill", noticed_by=PREFILL, placed=everywhere)
def features_after_the_norm(features: torch.Tensor) -> torch.Tensor:
    """Features are taken after a norm where the drafter was trained on the residual stream."""
    taps = [
        tap * torch.rsqrt(tap.square().mean(-1, keepdim=True) + 1e-5) for tap in features.chunk(3, dim=-1)
    ]
    return torch.cat(taps, dim=-1)


@fault("F-FEAT-04", "va#5974", "va#6445", stage="prefill", noticed_by=PREFILL, placed=everywhere)
def features_in_a_rotated_basis(features: torch.Tensor) -> torch.Tensor:
    """A rotated teacher passes its features to a drafter that was never rotated.

    Each tap is in another orthonormal basis, as a rotated quantised teacher has it.
    """
    taps = features.chunk(3, dim=-1)
    random = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(taps[0].shape[-1], taps[0].shape[-1], generator=random)).Q
    return torch.cat([tap @ basis.to(tap) for tap in taps], dim=-1)


@fault("F-FEAT-05", "va#9436", stage="verify", noticed_by=("JUDGE-STALE",))
def features_half_stale(made: Verified, scene: Scene) -> Verified:
    """Half of the feature buffer still holds the rows of the step before.

    One rank fills its share of the buffer, the other does not.
    """
    half = len(made.features) // 2
    stale: Any = scene.memory.get("features", made.features)
    scene.memory["features"] = made.features
    return replace(made, features=torch.cat([made.features[:half], stale[half:]]))


@fault("F-FEAT-06", "eagle#162", "sgl#7477", stage="verify", noticed_by=("JUDGE-NONFINITE",))
def feature_not_finite(made: Verified, _: Scene) -> Verified:
    """One feature of one row overflows to NaN."""
    features = made.features.clone()
    features[min(2, len(features) - 1), 0] = torch.nan
    return replace(made, features=features)


@fault(
    "F-FEAT-07",
    "va#7549",
    "sgl#37949",
    stage="commit",
    noticed_by=("JUDGE-INPUT-WRITTEN",),
    placed=before("commit"),
)
def features_overwritten_in_place(arguments: tuple[Any, ...], _: Scene) -> tuple[Any, ...]:
    """Commit moves feature rows inside the buffer that verify gave."""
    features = arguments[1].features
    with torch.inference_mode():
        features.copy_(features.roll(1, dims=0))
    return arguments


@fault("F-FEAT-08", "va#9436", "vllm#7508", stage="verify", noticed_by=VERIFY)
def feature_row_never_written(made: Verified, _: Scene) -> Verified:
    """The last row of the feature buffer is never written and stays zero.

    The gather covers one row less than there are nodes.
    """
    features = made.features.clone()
    features[-1] = 0
    return replace(made, features=features)
