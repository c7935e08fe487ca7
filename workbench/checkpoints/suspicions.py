"""What the statistics of weights alone make suspicious: both paths share them, so no comparison can.

Each suspicion is a state that training does not reach by itself: it says what was seen and how sure that
makes it. What leaves no trace in any statistic is listed in `BLIND`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import torch

from workbench.checkpoints.report import Check

BLIND: Final = (
    "tensors of equal shape that were exchanged: gate and up, keys and values, thirds of fc, teacher layers",
    "norms or an epsilon that are wrong and plausible",
    "tapped layers that the config names wrongly",
    "a rope that the config states wrongly",
    "an embedding or a vocabulary map of another, equally large model",
)
"""Faults of the files that both paths share and no check of the load can see; acceptance may fall, or not."""
MIN_EPS, MAX_EPS = 1e-8, 1e-4
NORM: Final = "norm.weight"
TRAINED_ID: Final = "drafter.trained"
LEARNED: Final = ("fc.weight", "midlayer.self_attn.q_proj.weight", "midlayer.mlp.up_proj.weight")
POWER_STEPS: Final = 30
TRAINED: Final = 1.15
"""Largest singular value of a trained matrix over that of a random one; small random ones reach 1.1."""
MATRIX_RMS: Final = (1e-7, 50.0)
"""Outside lie matrices of another unit: a lost scale, a quantised weight read as numbers."""
Tensors = Mapping[str, torch.Tensor]


def suspicions(role: str, weights: Tensors) -> Check:
    """Report what training does not do to weights.

    Args:
        role: `teacher` or `drafter`.
        weights: Its tensors under canonical names.
    """
    seen = [
        *_untrained_norms(weights),
        *_dead(weights),
        *_twins(weights),
        *_thirds(weights),
        *_units(weights),
    ]
    more = f"; and {len(seen) - 3} more" if len(seen) > 3 else ""
    sentence = "; ".join(seen[:3]) + more or "no weight is suspicious by its own statistics"
    return Check(f"{role}.weights", "warning" if seen else "ok", f"{role}: {sentence}")


def epsilon(role: str, eps: float, *, written: bool) -> Check:
    """Report an epsilon of the norms that is a guess, or that no published model has."""
    usual = MIN_EPS <= eps <= MAX_EPS
    sentence = f"{role}: epsilon of the norms is {eps:g}"
    sentence += "" if written else "; the config does not name it, this is a guess"
    sentence += "" if usual else f"; published models have {MIN_EPS:g} to {MAX_EPS:g}"
    return Check(f"{role}.epsilon", "ok" if usual and written else "warning", sentence)


def looks_trained(matrix: torch.Tensor) -> bool:
    """Tell whether a matrix has a direction that independent random entries do not have.

    The largest singular value of m x n independent entries of deviation s is close to s(sqrt(m) + sqrt(n))
    (Marchenko and Pastur 1967); training makes it larger. It is found by power iteration.
    """
    wide = matrix.float()
    direction = torch.ones(wide.shape[1])
    for _ in range(POWER_STEPS):
        direction = wide.T @ (wide @ direction)
        direction = direction / direction.norm().clamp(min=1e-30)
    edge = float(wide.std()) * (wide.shape[0] ** 0.5 + wide.shape[1] ** 0.5)
    return bool(float((wide @ direction).norm()) > TRAINED * edge)


def trained(weights: Tensors) -> Check:
    """State whether acceptance can say anything of this drafter: of random weights it cannot."""
    learned = any(looks_trained(weights[name]) for name in LEARNED)
    sentence = "is trained" if learned else "has weights like random numbers; acceptance says nothing of it"
    return Check(TRAINED_ID, "ok", f"the drafter {sentence}")


def blind() -> Check:
    """State what no check of the load can see."""
    return Check("pair.blind", "ok", f"not seen by any check, nor by comparing the paths: {'; '.join(BLIND)}")


def _is_constant(tensor: torch.Tensor) -> bool:
    flat = tensor.flatten()
    return flat.numel() > 1 and bool((flat == flat[0]).all())


def _untrained_norms(weights: Tensors) -> Iterator[str]:
    """A norm at one constant among norms that were trained; where none was trained, nothing is said."""
    norms = {name: tensor for name, tensor in weights.items() if name.endswith(NORM) and tensor.dim() == 1}
    constant = [name for name, tensor in norms.items() if _is_constant(tensor)]
    if len(norms) > 2 and len(constant) <= len(norms) // 2:
        for name in constant:
            value = float(norms[name].flatten()[0])
            yield (
                f"{name} is {value:g} everywhere, as if never trained or loaded, and the other norms are not "
                "(training leaves no such norm)"
            )


def _dead(weights: Tensors) -> Iterator[str]:
    for name, tensor in weights.items():
        if tensor.dim() == 2 and _is_constant(tensor):
            yield f"{name} is {float(tensor.flatten()[0]):g} everywhere (training leaves no such matrix)"


def _twins(weights: Tensors) -> Iterator[str]:
    """Two different projections of one block with the same values: one was loaded twice."""
    pairs = (("gate_proj", "up_proj"), ("k_proj", "v_proj"), ("hidden_norm", "input_layernorm"))
    for name, tensor in weights.items():
        for one, other in pairs:
            twin = weights.get(name.replace(one, other)) if one in name else None
            if twin is not None and not _is_constant(tensor) and torch.equal(twin, tensor):
                yield f"{name} equals {name.replace(one, other)}: one was read twice (certain)"


def _thirds(weights: Tensors) -> Iterator[str]:
    fused = weights.get("fc.weight")
    if fused is None or fused.shape[1] % 3:
        return
    low, mid, high = fused.chunk(3, dim=1)
    if not _is_constant(fused) and (
        torch.equal(low, mid) or torch.equal(mid, high) or torch.equal(low, high)
    ):
        yield "two thirds of fc.weight are equal: one tap is read twice (certain)"


def _units(weights: Tensors) -> Iterator[str]:
    low, high = MATRIX_RMS
    for name, tensor in weights.items():
        if tensor.dim() == 2 and not _is_constant(tensor):
            rms = float(tensor.float().square().mean().sqrt())
            if not low <= rms <= high:
                yield f"{name} has a root mean square of {rms:g}, as no published model: a scale may be lost"
