"""Ascend's operators as this process calls them: the same Python line on every backend.

With the wheel, real device or not, a name here is `torch_npu.<name>`; without it `torch.ops.npu.<name>`
(or `torch.ops.atb`), defined from the pinned schema. Signatures, defaults and names are the vendor's.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tracing.errors import EnvironmentProblemError
from workbench.npu.backends import Function, register

if TYPE_CHECKING:
    from torch import Tensor

_wrapped: dict[str, Function] = {}


def npu_fused_infer_attention_score(
    query: Tensor, key: Tensor, value: Tensor, **options: Any
) -> tuple[Tensor, Tensor]:
    """Call fused attention, v1: `(attention output, softmax lse)`; masked is True in `atten_mask`."""
    output, lse = operator("npu_fused_infer_attention_score")(query, key, value, **options)
    return output, lse


def npu_rms_norm(hidden: Tensor, gamma: Tensor, epsilon: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Call RMSNorm: `(normed, reciprocal deviation in float32)`."""
    normed, rstd = operator("npu_rms_norm")(hidden, gamma, epsilon)
    return normed, rstd


def npu_rotary_mul(states: Tensor, cos: Tensor, sin: Tensor, rotary_mode: str = "half") -> Tensor:
    """Call rotary embedding of one tensor; the layout is read from the shapes."""
    rotated: Tensor = operator("npu_rotary_mul")(states, cos, sin, rotary_mode)
    return rotated


def npu_swiglu(gate_and_up: Tensor, dim: int = -1) -> Tensor:
    """Call SwiGLU: the first half of `dim` is the gate."""
    activated: Tensor = operator("npu_swiglu")(gate_and_up, dim)
    return activated


def npu_weight_quant_batchmatmul(rows: Tensor, weight: Tensor, scale: Tensor, **options: Any) -> Tensor:
    """Call the product with quantised weights; int4 weights are words along their contiguous axis."""
    product: Tensor = operator("npu_weight_quant_batchmatmul")(rows, weight, scale, **options)
    return product


def npu_moe_init_routing_v2(
    rows: Tensor, expert_ids: Tensor, num_experts: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Call the sorting of rows by expert: `(rows, their places by row and choice, int64 counts)`."""
    sorted_rows, places, counts, _ = operator("npu_moe_init_routing_v2")(
        rows, expert_ids, active_num=expert_ids.numel(), expert_num=num_experts, expert_tokens_num_type=1,
        expert_tokens_num_flag=True, active_expert_range=[0, num_experts], row_idx_type=0,
    )  # fmt: skip
    return sorted_rows, places, counts


def npu_grouped_matmul(rows: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    """Call the product of each group of rows with its own matrix of `[E, K, N]`."""
    (product,) = operator("npu_grouped_matmul")(
        [rows], [weights], group_list=counts, split_item=2, group_type=0, group_list_type=1
    )
    return product  # type: ignore[no-any-return]  # of a list without a type


def npu_moe_finalize_routing(given: Tensor, weights: Tensor, places: Tensor, expert_ids: Tensor) -> Tensor:
    """Call the weighted sum of what experts gave; places are by row and choice."""
    summed: Tensor = operator("npu_moe_finalize_routing")(
        given, None, None, None, weights, places, expert_ids, drop_pad_mode=2
    )
    return summed


def npu_scatter_pa_kv_cache(
    key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_mapping: Tensor, **options: Any
) -> None:
    """Write rows into a paged cache; `cache_mode` must be given as "Norm" for an ND cache."""
    operator("npu_scatter_pa_kv_cache")(key, value, key_cache, value_cache, slot_mapping, **options)


def operator(name: str, namespace: str = "npu") -> Function:
    """Return the operator that this process would call, with its wrapper if one is set.

    Raises:
        EnvironmentProblemError: No backend, or this torch_npu does not have the operator.
    """
    return _wrapped.get(name) or _resolve(name, namespace)


@contextlib.contextmanager
def wrapped(name: str, wrapper: Callable[[Function], Function], namespace: str = "npu") -> Iterator[None]:
    """Replace an operator by `wrapper(operator)` inside the block; for faults and probes."""
    previous = _wrapped.get(name)
    _wrapped[name] = wrapper(operator(name, namespace))
    try:
        yield
    finally:
        if previous is None:
            del _wrapped[name]
        else:
            _wrapped[name] = previous


def _resolve(name: str, namespace: str) -> Function:
    backend = register().backend
    package = sys.modules.get("torch_npu")
    if package is None:
        import torch

        package = getattr(torch.ops, namespace)
    found: Function | None = getattr(package, name, None)
    if found is None:
        raise EnvironmentProblemError(
            f"backend {backend.name} (torch_npu {backend.torch_npu}) has no operator {name}"
        )
    return found


def kernel_text(name: str, arguments: Mapping[str, Any], backend: str = "") -> str:
    """Return the `kernel` line of a trace: operator, layout, sparse mode, mask dtype and shape, backend.

    Other arguments of the call are left out; `backend` is this process's own when empty.
    """
    parts = [name]
    if "input_layout" in arguments:
        parts.append(str(arguments["input_layout"]))
    if "sparse_mode" in arguments:
        parts.append(f"sparse_mode={arguments['sparse_mode']}")
    mask = arguments.get("atten_mask", arguments.get("mask"))
    if mask is not None:
        parts.append(f"mask={str(mask.dtype).removeprefix('torch.')}{list(mask.shape)}")
    if arguments.get("block_table") is not None:
        parts.append(f"paged block_size={arguments.get('block_size', 0)}")
    return " ".join([*parts, f"via {backend or register().backend.name}"])
