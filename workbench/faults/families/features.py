"""Faults of the teacher's features on their way to the drafter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch

from tracing.stages import DecodePath, Prefilled, Verified
from workbench.faults.fault import Fault
from workbench.faults.placement import Placement, Scene, after, before, engine_of, on_stages

Spoil = Callable[[torch.Tensor], torch.Tensor]


def _everywhere(spoil: Spoil) -> Placement:
    """Spoil the features that prefill and verify give, and those that prefill hands to the first draft."""

    def at_prefill(made: Prefilled, scene: Scene) -> Prefilled:
        scene.state.new_rows = replace(scene.state.new_rows, features=spoil(made.features))
        return replace(made, features=spoil(made.features))

    def at_verify(made: Verified, _: Scene) -> Verified:
        return replace(made, features=spoil(made.features))

    return on_stages(after={"prefill": at_prefill, "verify": at_verify})


def _swapped(made: Verified, _: Scene) -> Verified:
    low, middle, high = made.features.chunk(3, dim=-1)
    return replace(made, features=torch.cat([middle, low, high], dim=-1))


def _normed(features: torch.Tensor) -> torch.Tensor:
    taps = [
        tap * torch.rsqrt(tap.square().mean(-1, keepdim=True) + 1e-5) for tap in features.chunk(3, dim=-1)
    ]
    return torch.cat(taps, dim=-1)


def _rotated(features: torch.Tensor) -> torch.Tensor:
    """Each tap in another orthonormal basis, as a rotated quantised teacher has it."""
    taps = features.chunk(3, dim=-1)
    random = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(taps[0].shape[-1], taps[0].shape[-1], generator=random)).Q
    return torch.cat([tap @ basis.to(tap.dtype) for tap in taps], dim=-1)


def _half_of_the_step_before(made: Verified, scene: Scene) -> Verified:
    """One rank fills its share of the buffer; the other rows are those of the step before."""
    half = len(made.features) // 2
    stale: Any = scene.memory.get("features", made.features)
    scene.memory["features"] = made.features
    return replace(made, features=torch.cat([made.features[:half], stale[half:]]))


def _not_a_number(made: Verified, _: Scene) -> Verified:
    features = made.features.clone()
    features[min(2, len(features) - 1), 0] = torch.nan
    return replace(made, features=features)


def _last_row_never_written(made: Verified, _: Scene) -> Verified:
    """The gather covers one row less than there are nodes; the buffer was zeroed before."""
    features = made.features.clone()
    features[-1] = 0
    return replace(made, features=features)


def _next_boundary(path: DecodePath) -> DecodePath:
    """Tap what enters the layer after the one that is asked for; the last boundary has none after it."""
    teacher: dict[str, Any] = vars(engine_of(path).teacher)
    base = teacher["_model"].model
    boundaries = [*base.layers, base.norm]
    for layer in set(teacher["_aux_layers"]) - {len(boundaries) - 1}:
        boundaries[layer + 1].register_forward_pre_hook(_keeper(teacher["_tapped"], layer))
    return path


def _keeper(tapped: dict[int, torch.Tensor], layer: int) -> Any:
    def keep(_: Any, arguments: tuple[Any, ...]) -> None:
        tapped[layer] = arguments[0]

    return keep


def _overwritten(arguments: tuple[Any, ...], _: Scene) -> tuple[Any, ...]:
    """Commit compacts the rows inside the buffer that verify gave."""
    features = arguments[1].features
    with torch.inference_mode():
        features.copy_(features.roll(1, dims=0))
    return arguments


PREFILL: Final = ("JUDGE-PREFILL-FEATURES",)
VERIFY: Final = ("JUDGE-VERIFY-FEATURES", "JUDGE-ROW-MOVED")

FAULTS: Final = (
    Fault(
        id="F-FEAT-01",
        name="aux-layers-off-by-one",
        about="The tap is what leaves the named layer where the drafter was trained on what enters it.",
        stage="prefill",
        seen_in=("sgl#25454", "sgl#32334"),
        noticed_by=PREFILL,
        place=lambda: Placement(path=_next_boundary),
    ),
    Fault(
        id="F-FEAT-02",
        name="taps-swapped",
        about="Low and middle features of a tree's rows change places.",
        stage="verify",
        seen_in=("lightseekorg/tokenspeed#526",),
        noticed_by=VERIFY,
        place=lambda: after("verify", _swapped),
    ),
    Fault(
        id="F-FEAT-03",
        name="features-after-the-norm",
        about="Features are taken after a norm where the drafter was trained on the residual stream.",
        stage="prefill",
        seen_in=("speculators#313",),
        noticed_by=PREFILL,
        place=lambda: _everywhere(_normed),
    ),
    Fault(
        id="F-FEAT-04",
        name="features-in-a-rotated-basis",
        about="A rotated teacher hands its features to a drafter that was never rotated.",
        stage="prefill",
        seen_in=("va#5974", "va#6445"),
        noticed_by=PREFILL,
        place=lambda: _everywhere(_rotated),
    ),
    Fault(
        id="F-FEAT-05",
        name="features-half-stale",
        about="Half of the feature buffer still holds the rows of the step before.",
        stage="verify",
        seen_in=("va#9436",),
        noticed_by=(*VERIFY, "FEAT002"),
        place=lambda: after("verify", _half_of_the_step_before),
    ),
    Fault(
        id="F-FEAT-06",
        name="feature-not-finite",
        about="One feature of one row overflows to NaN.",
        stage="verify",
        seen_in=("eagle#162", "sgl#7477"),
        noticed_by=("JUDGE-NONFINITE",),
        place=lambda: after("verify", _not_a_number),
    ),
    Fault(
        id="F-FEAT-07",
        name="features-overwritten-in-place",
        about="Commit moves feature rows inside the buffer that verify gave.",
        stage="commit",
        seen_in=("va#7549", "sgl#37949"),
        noticed_by=("JUDGE-INPUT-WRITTEN",),
        place=lambda: before("commit", _overwritten),
    ),
    Fault(
        id="F-FEAT-08",
        name="feature-row-never-written",
        about="The last row of the feature buffer is never written and stays zero.",
        stage="verify",
        seen_in=("va#9436", "vllm#7508"),
        noticed_by=VERIFY,
        place=lambda: after("verify", _last_row_never_written),
    ),
)
