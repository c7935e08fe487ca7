"""Our judge: every output, its form, and each element against float64 with an allowance of its own.

An element may be off by `FACTOR` times the units that the plain reference needs, 1 to `MOST`:

    unit = u * (|exact| + spread) + 2^-24 * sqrt(terms) * spread + half a step among subnormals

with u half a step of the output's dtype and `spread` the root of the sum of squares of its terms.
The reference is sampled in several orders of summation. Values that are moved or counted are to be equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from workbench.kernels.kernel import Exact

FACTOR: Final = {torch.float16: 2.0, torch.bfloat16: 2.0}
"""On the reference's own error; 4 for other dtypes, as between paths."""
MOST: Final = 8.0
"""Units of error that a reference may excuse."""
_STEP: Final = {
    torch.bfloat16: 2.0**-8,
    torch.float16: 2.0**-11,
    torch.float32: 2.0**-24,
    torch.float64: 2.0**-53,
}
_SMALLEST: Final = {torch.float16: 2.0**-25, torch.bfloat16: 2.0**-127, torch.float32: 2.0**-127}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why a case fails.

    Attributes:
        rule: Stable id, e.g. `KERNEL-VALUE`.
        message: One sentence: what was expected, what came, where.
        output: Number of the output, or name of the argument that was written; empty for the whole call.
        excess: By how much the allowance was exceeded; 0 where there is none.
    """

    rule: str
    message: str
    output: str = ""
    excess: float = 0.0


@dataclass(frozen=True, slots=True)
class JudgedOutputs:
    """What our judge says of one case.

    Attributes:
        refusals: Why it fails; empty when it passes.
        num_elements: Elements that were judged.
        num_open: Elements that could not be, because the reference itself fails there.
        used: Largest share of its allowance that an element used.
    """

    refusals: tuple[Refusal, ...]
    num_elements: int
    num_open: int = 0
    used: float = 0.0


def judge(
    names: Sequence[str],
    expected: Sequence[Exact],
    samples: Sequence[Sequence[Tensor]],
    came: Sequence[Any],
    *,
    most: float = MOST,
) -> JudgedOutputs:
    """Judge the outputs of one call.

    Args:
        names: Of the outputs, as refusals name them.
        expected: What each should be.
        samples: The reference's outputs, one sequence for each order of summation.
        came: The candidate's.
        most: Units that the reference may excuse; without a limit where nothing is known of its sums.
    """
    if len(came) != len(expected):
        sentence = f"expected {len(expected)} outputs, came {len(came)}"
        return JudgedOutputs((Refusal("KERNEL-COUNT", sentence),), 0)
    parts = [
        _output(name, exact, [sample[number] for sample in samples], output, most)
        for number, (name, exact, output) in enumerate(zip(names, expected, came, strict=False))
    ]
    return JudgedOutputs(
        tuple(refusal for part in parts for refusal in part.refusals),
        sum(part.num_elements for part in parts),
        sum(part.num_open for part in parts),
        max((part.used for part in parts), default=0.0),
    )


def _output(name: str, exact: Exact, samples: Sequence[Tensor], output: Any, most: float) -> JudgedOutputs:
    form = next(_form(name, exact, output), None)
    if form is not None:
        return JudgedOutputs((form,), 0)
    output = output.detach().cpu()
    free = torch.zeros_like(exact.value, dtype=torch.bool) if exact.free is None else exact.free
    if exact.bits:
        wrong = (bits(output) != bits(exact.value)) & ~free
        return _summary(name, "KERNEL-EXACT", wrong, free, output, exact.value)
    return _floats(name, exact, samples, output, free=free, most=most)


def _form(name: str, exact: Exact, output: Any) -> Iterator[Refusal]:
    """Yield what is wrong with the kind of an output, before its elements are looked at."""
    if not isinstance(output, Tensor):
        yield Refusal("KERNEL-TYPE", f"{name}: expected a tensor, came {type(output).__name__}", name)
        return
    if output.dtype is not exact.dtype:
        yield Refusal("KERNEL-DTYPE", f"{name}: expected {exact.dtype}, came {output.dtype}", name)
    if output.shape != exact.value.shape:
        shapes = f"{name}: expected shape {list(exact.value.shape)}, came {list(output.shape)}"
        yield Refusal("KERNEL-SHAPE", shapes, name)


def bits(tensor: Tensor) -> Tensor:
    """Return the bit patterns as integers, so that NaN equals itself and -0 is not 0."""
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor if tensor.dtype is torch.bool else tensor.contiguous().view(integers[tensor.element_size()])


def _floats(
    name: str, exact: Exact, samples: Sequence[Tensor], output: Tensor, *, free: Tensor, most: float
) -> JudgedOutputs:
    value, dtype = exact.value, exact.dtype
    unit = units(exact)
    differs = torch.zeros_like(free)
    own = torch.ones((), dtype=torch.float64)
    for sample in samples:
        reference = sample.detach().cpu().double()
        off = (reference - value).abs() / unit
        differs |= (kind(reference) != kind(value)) & ~(_near_top(value, dtype) & reference.isinf())
        own = torch.maximum(own, off[off.isfinite()].max()) if off.isfinite().any() else own
    allowed = FACTOR.get(dtype, 4.0) * own.clamp(max=most) * unit
    got = output.double()
    overflow = (
        got.isinf() & value.isfinite() & _near_top(value, dtype, allowed) & (got.sign() == value.sign())
    )
    free = free | differs
    classes = (kind(got) != kind(value)) & ~overflow & ~free
    off = (got - value).abs()
    judged = value.isfinite() & got.isfinite() & ~free
    used = torch.where(judged, off / allowed, 0.0)
    wrong = used > 1.0
    found = [
        *_summary(name, "KERNEL-NONFINITE", classes, free, output, value).refusals,
        *_summary(name, "KERNEL-VALUE", wrong, free, output, value, used=used, allowed=allowed).refusals,
    ]
    most = float(used.max()) if used.numel() else 0.0
    return JudgedOutputs(tuple(found), int((~free).sum()), int(differs.sum()), most)


def units(exact: Exact) -> Tensor:
    """Return one unit of allowed error for each element; see the module."""
    value = exact.value.abs()
    spread = value if exact.spread is None else exact.spread
    step = _STEP[exact.dtype]
    unit = (
        step * (value + spread)
        + 2.0**-24 * exact.terms**0.5 * spread
        + _SMALLEST.get(exact.dtype, 2.0**-1023)
    )
    if exact.floor is not None:
        unit = unit + exact.floor
    return torch.where(unit.isfinite(), unit, step)


def kind(values: Tensor) -> Tensor:
    """Return 0 for finite, 1 for NaN, 2 and 3 for plus and minus infinity."""
    return values.isnan() * 1 + values.isposinf() * 2 + values.isneginf() * 3


def _near_top(value: Tensor, dtype: torch.dtype, allowed: Tensor | float = 0.0) -> Tensor:
    """Whether a finite value rounds to infinity in a dtype, or may within its allowance."""
    return value.isfinite() & (value.abs() + allowed >= torch.finfo(dtype).max)


def _summary(  # noqa: PLR0917  # what is compared, in the order of the sentence
    name: str,
    rule: str,
    wrong: Tensor,
    free: Tensor,
    output: Tensor,
    value: Tensor,
    *,
    used: Tensor | None = None,
    allowed: Tensor | None = None,
) -> JudgedOutputs:
    """Return at most one refusal: how many elements, and the worst or first of them."""
    count = int(wrong.sum())
    num_judged = int((~free).sum())
    if count == 0:
        return JudgedOutputs((), num_judged)
    flat = int((torch.where(wrong, used, 0.0) if used is not None else wrong.int()).flatten().argmax())
    place = [int(one) for one in torch.unravel_index(torch.tensor(flat), wrong.shape)]
    wanted, got = value.flatten()[flat].item(), output.flatten()[flat].item()
    sentence = f"{name}{place}: expected {wanted:.9g}, came {got:.9g}"
    excess = 0.0
    if used is not None and allowed is not None:
        excess = float(used.flatten()[flat])
        sentence += f", allowed {float(allowed.flatten()[flat]):.3g} ({excess:.3g} of the allowance)"
    refusal = Refusal(rule, f"{sentence}; {count} of {num_judged} elements", name, excess)
    return JudgedOutputs((refusal,), num_judged)
