"""Twin of `npu_apply_rotary_pos_emb`, in place as on the device."""

from __future__ import annotations

from torch import Tensor

from workbench.npu.contracts.rope import check_apply_rotary_pos_emb
from workbench.npu.ops.rotary import turn_halves


def npu_apply_rotary_pos_emb(  # noqa: PLR0917  # the vendor's schema
    query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, layout: str = "BSND", rotary_mode: str = "half"
) -> tuple[Tensor, Tensor]:
    """Rotate query and key in place and return them, computed in float32 and rounded once.

    The schema promises fresh tensors; the device writes the inputs, and so does the twin, so that a caller
    who still needs them finds out.

    Args:
        query: [B, S, N, D] or [T, N, D].
        key: [B, S, KVN, D] or [T, KVN, D].
        cos: The query's shape with one head.
        sin: As `cos`.
        layout: `BSND` or `TND`.
        rotary_mode: `half`.

    Raises:
        ContractError: when the call breaks a rule.
    """
    check_apply_rotary_pos_emb(query, key, cos, sin, layout, rotary_mode)
    cosines, sines = cos.float(), sin.float()
    for tensor in (query, key):
        exact = tensor.float()
        tensor.copy_(exact * cosines + turn_halves(exact) * sines)
    return query, key
