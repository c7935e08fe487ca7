"""Call a candidate once and note everything that it did; and judge what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from workbench.kernels.judge.own import JudgedOutputs, Refusal, bits, judge
from workbench.kernels.judge.published import PublishedVerdict, verdict
from workbench.kernels.kernel import Arguments, Draw, Exact, Kernel, Order, Trial, clone, tensors_of
from workbench.kernels.wire import Called

ORDERS = (None, 1, 2)
"""Orders of summation in which the reference is sampled."""


def call(kernel: Kernel, candidate: Callable[..., Any], arguments: Arguments, device: str = "cpu") -> Called:
    """Call a candidate twice on copies of the arguments and note what it returns, writes and shares."""
    given = clone(arguments, device)
    outputs = _outputs(kernel, candidate(**given))
    after = {name: given[name] for name in kernel.writes}
    others = {name: tensor for name, tensor in tensors_of(given).items() if name not in kernel.writes}
    before = tensors_of(arguments)
    changed = tuple(name for name, tensor in others.items() if not same_bits(tensor.cpu(), before[name]))
    kept = tuple(one.detach().cpu() if isinstance(one, Tensor) else one for one in outputs)
    shared = _aliases(kernel, outputs, given)
    again = clone(arguments, device)
    second = _outputs(kernel, candidate(**again))
    pairs = zip((*kept, *after.values()), (*second, *(again[name] for name in kernel.writes)), strict=False)
    repeats = len(kept) == len(second) and all(
        same_bits(one.cpu(), two.cpu())
        for one, two in pairs
        if isinstance(one, Tensor) and isinstance(two, Tensor)
    )
    return Called(kept, {name: one.cpu() for name, one in after.items()}, changed, shared, repeats)


def same_bits(one: Tensor, two: Tensor) -> bool:
    """Whether two tensors are equal bit by bit."""
    return one.shape == two.shape and one.dtype is two.dtype and bool((bits(one) == bits(two)).all())


def _outputs(kernel: Kernel, result: Any) -> list[Any]:
    """Return what was returned as a list, without what nothing is promised of."""
    values = [] if result is None else list(result) if isinstance(result, (list, tuple)) else [result]
    return values[: len(values) - kernel.also_returns] if kernel.also_returns else values


def _aliases(kernel: Kernel, outputs: Sequence[Any], given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return outputs that share memory with one another, or with an argument that is not written in place."""
    named = [
        (f"output {at}", one) for at, one in enumerate(outputs) if isinstance(one, Tensor) and one.numel()
    ]
    inputs = [
        (name, one) for name, one in tensors_of(given).items() if one.numel() and name not in kernel.writes
    ]
    pairs = [*combinations(named, 2), *((one, two) for one in named for two in inputs)]
    return tuple(
        f"{first} shares memory with {second}"
        for (first, one), (second, two) in pairs
        if one.untyped_storage().data_ptr() == two.untyped_storage().data_ptr() != 0
    )


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How one case ended.

    Attributes:
        published: That of the public benchmark's rule; None where nothing came to be judged.
        repeats: Whether a second call gave the same bits.
    """

    kernel: str
    case: str
    values: str
    judged: JudgedOutputs
    published: PublishedVerdict | None
    repeats: bool = True

    @classmethod
    def failed(cls, kernel: str, case: str, values: str, rule: str, message: str) -> CaseResult:
        """Return a case of which nothing came to be judged."""
        return cls(kernel, case, values, JudgedOutputs((Refusal(rule, message),), 0), None)

    @property
    def passed(self) -> bool:
        """Whether our judge found nothing."""
        return not self.judged.refusals


def judge_call(kernel: Kernel, case: Trial, seed: int, called: Called) -> CaseResult:
    """Judge what a candidate did with a case."""
    arguments = case.build(Draw(seed))
    expected = kernel.truth(arguments)
    samples = [kernel.reference(clone(arguments), Order(order)) for order in ORDERS]
    came = [*called.outputs, *(called.after.get(name) for name in kernel.writes)]
    names = [f"output {number}" for number in range(len(expected) - len(kernel.writes))]
    judged = judge([*names, *kernel.writes], expected, samples, came)
    memory = [
        *(
            Refusal("KERNEL-INPUT", f"{name}: written to, and it is not its to write", name)
            for name in called.changed
        ),
        *(
            Refusal("KERNEL-ALIAS", f"{pair}: the next call or the next write changes it")
            for pair in called.aliases
        ),
    ]
    whole = JudgedOutputs((*judged.refusals, *memory), judged.num_elements, judged.num_open, judged.used)
    public = published(kernel, arguments, expected, samples[0], came)
    return CaseResult(kernel.name, case.name, case.values, whole, public, called.repeats)


def published(
    kernel: Kernel,
    arguments: Arguments,
    expected: Sequence[Exact],
    reference: Sequence[Tensor],
    came: Sequence[Any],
) -> PublishedVerdict:
    """Judge by the kernel's public rule: the reference in the dtype of the inputs against what came."""
    floats = [one.dtype for one in tensors_of(arguments).values() if one.dtype.is_floating_point]
    dtype = floats[0] if floats else torch.int32
    terms = max((one.terms for one in expected), default=1)
    parameters = {"dtype": str(dtype).removeprefix("torch."), "k": terms}
    single = kernel.rule == "basic_matmul"
    promised = [
        at
        for at, one in enumerate(expected)
        if one.free is None or not one.free.numel() or not one.free.all()
    ]
    kept = [[outputs[at] for at in promised if at < len(outputs)] for outputs in (reference, came)]
    try:
        wanted, got = (kept[0][0], kept[1][0]) if single else kept
    except IndexError:
        return PublishedVerdict(passed=False, raises="IndexError")
    return verdict(kernel.rule, wanted, got, parameters)
