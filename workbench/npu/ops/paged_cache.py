"""Twins of the operators that write keys and values into a paged cache by slot."""

from __future__ import annotations

from torch import Tensor

from workbench.npu.contracts.paged_cache import check_reshape_and_cache, check_scatter_pa_kv_cache


def npu_scatter_pa_kv_cache(
    key: Tensor,
    value: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    slot_mapping: Tensor,
    *,
    compress_lens: Tensor | None = None,
    compress_seq_offsets: Tensor | None = None,
    seq_lens: Tensor | None = None,
    cache_mode: str | None = "PA_NZ",
) -> None:
    """Write the token t of key and value into slot `slot_mapping[t]` of the caches.

    Args:
        key: [T, H, D].
        value: [T, H, D_v].
        key_cache: Norm: [blocks, block_size, H, D]; PA_NZ: [blocks, H*D/last, block_size, last].
        value_cache: As `key_cache`.
        slot_mapping: int32 or int64 [T], block * block_size + offset.
        compress_lens: Not covered.
        compress_seq_offsets: Not covered.
        seq_lens: Not covered.
        cache_mode: `PA_NZ` or `Norm`.

    Raises:
        ContractError: when the call breaks a rule.
        NotModelledError: for the arguments of compressed caches.
    """
    check_scatter_pa_kv_cache(
        key,
        value,
        key_cache,
        value_cache,
        slot_mapping,
        compress_lens=compress_lens,
        compress_seq_offsets=compress_seq_offsets,
        seq_lens=seq_lens,
        cache_mode=cache_mode,
    )
    for tokens, cache in ((key, key_cache), (value, value_cache)):
        write_tokens(tokens, cache if cache_mode == "Norm" else block_rows(cache), slot_mapping)


def npu_reshape_and_cache(
    key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_indices: Tensor
) -> None:
    """Write the token t of key and value into slot `slot_indices[t]`; a negative slot is skipped.

    Args:
        key: [T, H, D].
        value: [T, H, D_v].
        key_cache: [blocks, block_size, H, D].
        value_cache: [blocks, block_size, H, D_v].
        slot_indices: int32 [T].

    Raises:
        ContractError: when the call breaks a rule.
    """
    check_reshape_and_cache(key, value, key_cache, value_cache, slot_indices)
    for tokens, cache in ((key, key_cache), (value, value_cache)):
        write_tokens(tokens, cache, slot_indices)


def block_rows(cache: Tensor) -> Tensor:
    """View a PA_NZ cache [blocks, groups, block_size, last] as [blocks, block_size, groups, last]."""
    return cache.transpose(1, 2)


def write_tokens(tokens: Tensor, cache: Tensor, slots: Tensor) -> None:
    """Write tokens [T, H, D] at their slots of a [blocks, block_size, X, Y] view with X * Y = H * D.

    Negative slots are skipped; of repeated ones (hardware mode) the last one stays here.
    """
    kept = slots >= 0
    place = slots[kept].long()
    block_size = cache.shape[1]
    rows = tokens[kept].reshape(-1, *cache.shape[2:])
    cache[place // block_size, place % block_size] = rows
