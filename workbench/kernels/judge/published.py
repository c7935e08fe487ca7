"""The rules of NPUKernelBench by name, so that scores compare: https://github.com/weich97/NPUKernelBench.

They are kept with their holes, which `workbench.kernels.judge.own` closes: a list of outputs that is
shorter passes, shapes may broadcast, NaN passes every rule of the form |difference| <= rtol * max(1,
|expected|), and so does anything beside an infinite expected value. Differences are taken in the dtype of the
outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from tracing.errors import UsageError

MAX_ABS_ERROR: Final = 1e-3
MAX_REL_ERROR: Final = 1e-3
"""Limits of the default rule."""
LONG_SUM: Final = 2048
"""Terms of a sum from which the matmul family allows more."""
_TINY: Final = 1e-7
_NORM: Final = {"float16": 1 / 512, "bfloat16": 1 / 256 + 1 / 16384, "float32": 1 / 2048 + 1 / 16384}
_SHORT: Final = {"float16": 1 / 256, "bfloat16": 1 / 128, "float32": 1 / 2048}
_LONG: Final = {"float16": 1 / 128, "bfloat16": 1 / 64, "float32": 1 / 512}


@dataclass(frozen=True, slots=True)
class PublishedVerdict:
    """What a public rule says of one case.

    Attributes:
        passed: Whether the case passes; False where the rule itself raises.
        max_abs, max_rel: Largest differences; NaN where one is.
        raises: Class of the exception that the rule ends in, or empty.
    """

    passed: bool
    max_abs: float = 0.0
    max_rel: float = 0.0
    raises: str = ""


Rule = Callable[[Any, Any, Mapping[str, Any]], tuple[bool, Tensor, Tensor]]


def verdict(
    rule: str, expected: Any, came: Any, parameters: Mapping[str, Any] | None = None
) -> PublishedVerdict:
    """Judge outputs by a public rule.

    Args:
        rule: A key of `RULES`.
        expected: A tensor or a list of tensors; anything else is what the public code makes of it.
        came: Likewise.
        parameters: `dtype` by name; `k`, terms of each sum, for the matmul family.

    Raises:
        UsageError: No such rule.
    """
    if rule not in RULES:
        raise UsageError(f"published rule should be one of {', '.join(RULES)}, got {rule!r}")
    try:
        passed, absolute, relative = RULES[rule](expected, came, parameters or {})
        return PublishedVerdict(passed, float(absolute.max()), float(relative.max()))
    except (RuntimeError, TypeError, AttributeError, NameError, IndexError) as raised:
        return PublishedVerdict(passed=False, raises=type(raised).__name__)


def _listed(outputs: Any) -> Any:
    return outputs if isinstance(outputs, list) else [outputs]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])


def _both_limits(
    expected: Any, came: Any, _: Mapping[str, Any], *, absolute: float, relative: float
) -> tuple[bool, Tensor, Tensor]:
    """Fail where a difference is above both limits, or anything is not finite."""
    passed, by_abs, by_rel = True, [], []
    for wanted, got in zip(_listed(expected), _listed(came), strict=False):
        if got.dtype is torch.bool:
            wanted, got = wanted.int(), got.int()  # noqa: PLW2901  # as the rule reads on
        off = (wanted - got).abs()
        share = off / (wanted.abs() + _TINY)
        finite = all(bool(each.isfinite().all()) for each in (wanted, got, off, share))
        passed = passed and finite and not bool(((off > absolute) & (share > relative)).any())
        by_abs.append(off)
        by_rel.append(share)
    return passed, _joined(by_abs), _joined(by_rel)


def _by_dtype(
    expected: Any, came: Any, parameters: Mapping[str, Any], *, half: float, other: float, of_float16: bool
) -> tuple[bool, Tensor, Tensor]:
    """The default rule with one limit for half precisions, with or without float16, and one for the rest."""
    halves = ("bfloat16", "float16") if of_float16 else ("bfloat16",)
    limit = half if parameters.get("dtype", "float16") in halves else other
    return _both_limits(expected, came, parameters, absolute=limit, relative=limit)


def _scaled(
    expected: Any, came: Any, parameters: Mapping[str, Any], *, limits: Mapping[str, float]
) -> tuple[bool, Tensor, Tensor]:
    """Fail where a difference is above rtol * max(1, |expected|)."""
    rtol = _limit(limits, parameters)
    passed, by_abs, by_rel = True, [], []
    for wanted, got in zip(_listed(expected), _listed(came), strict=False):
        off = (wanted - got).abs()
        above = off > rtol * torch.maximum(torch.tensor(1.0, device=wanted.device), wanted.abs())
        passed = passed and not bool(above.any())
        by_abs.append(off)
        by_rel.append(off / (wanted.abs() + _TINY))
    return passed, _joined(by_abs), _joined(by_rel)


def _matmul(expected: Any, came: Any, parameters: Mapping[str, Any]) -> tuple[bool, Tensor, Tensor]:
    """The scaled rule on one float32 output, with wider limits from 2048 terms on."""
    limits = _SHORT if parameters["k"] < LONG_SUM else _LONG
    return _scaled(expected.float(), came.float(), parameters, limits=limits)


def _limit(limits: Mapping[str, float], parameters: Mapping[str, Any]) -> float:
    dtype = parameters.get("dtype", "float16")
    if dtype not in limits:
        raise UnboundLocalError(f"no limit for {dtype}")  # what the public code ends in
    return limits[dtype]


def _few_beyond(
    expected: Any, came: Any, _: Mapping[str, Any], *, loss: float
) -> tuple[bool, Tensor, Tensor]:
    """Fail where more than the share `loss` of elements is off by more than `loss`, in both measures."""
    passed, by_abs, by_rel = True, [], []
    for wanted, got in zip(expected, came, strict=False):
        off = (wanted - got).abs()
        share = off / (torch.maximum(wanted.abs(), got.abs()) + _TINY)
        most = wanted.numel() * loss
        passed = passed and not ((share > loss).sum() > most and (off > loss).sum() > most)
        by_abs.append(off)
        by_rel.append(share)
    return passed, _joined(by_abs), _joined(by_rel)


_INTEGERS: Final = dict.fromkeys(("int8", "int16", "int32", "int64", "uint8", "bool"), 0.0)
_half_001: Final = partial(_by_dtype, half=1e-2, other=1e-3)
RULES: Final[Mapping[str, Rule]] = {
    "default": partial(_both_limits, absolute=MAX_ABS_ERROR, relative=MAX_REL_ERROR),
    "norm_family": partial(_scaled, limits=_NORM),
    "foreach_int": partial(_scaled, limits=_NORM | {"int32": 1.0}),
    "muls": partial(_scaled, limits=_NORM | _INTEGERS),
    "basic_matmul": _matmul,
    "swiglu": partial(_by_dtype, half=1e-2, other=1e-5, of_float16=True),
    "gelu": partial(_half_001, of_float16=True),
    "ema_adam": partial(_half_001, of_float16=False),
    "fast_gelu": partial(_both_limits, absolute=1e-2, relative=1e-2),
    "addcdiv": partial(_by_dtype, half=2e-2, other=1e-4, of_float16=False),
    "addcdiv_scalar": partial(_by_dtype, half=2e-2, other=1e-3, of_float16=False),
    "addcdiv_list": partial(_by_dtype, half=0.2, other=1e-4, of_float16=False),
    "foreach_maximum": partial(_by_dtype, half=5e-3, other=1e-4, of_float16=False),
    "foreach_norm": partial(_by_dtype, half=1e-2, other=5e-3, of_float16=False),
    "mul_mul_reduce": partial(_by_dtype, half=5e-3, other=2e-3, of_float16=True),
    "mul_sigmoid": partial(_both_limits, absolute=3e-3, relative=3e-3),
    "complex": partial(_both_limits, absolute=1e-5, relative=1e-5),
    "add_rms_norm_quant": partial(_few_beyond, loss=3e-3),
    "gelu_quant": partial(_few_beyond, loss=1e-3),
}
"""The default rule and the forms of the custom ones, named after a task or family that uses each."""
