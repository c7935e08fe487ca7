"""The pair as this package computes with it: every weight converted once, the given tensors untouched."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from reference.arithmetic import Arithmetic
from reference.quantised import with_plain_weights
from tracing.errors import CheckpointError, UsageError
from tracing.models import ModelPair

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class ReferenceModels:
    """A teacher and a drafter, ready to compute; a value, never changed after it is made.

    Attributes:
        pair: The configurations and the tensors as given.
        dtype, device: Of every weight and every computation.
        arithmetic: Order of sums.
        teacher_weights, drafter_weights: Canonical names to converted tensors.
        target_from_draft: int64 `[Vd]`, on the device; the identity where the pair has no map.
        shown_layer: Layer whose mask results show.
        rotary_offset: Added to each rotary position, of teacher and drafter.
    """

    def __init__(
        self,
        pair: ModelPair,
        dtype: str = "float32",
        device: str = "cpu",
        arithmetic: Arithmetic | None = None,
        rounded_to: str | None = None,
        *,
        shown_layer: int = 0,
        rotary_offset: int = 0,
    ) -> None:
        """Convert the weights.

        Args:
            pair: Plain data from a checkpoint.
            dtype: One of `DTYPES`.
            device: A torch device.
            arithmetic: Order of sums; natural by default.
            rounded_to: Round weights to this dtype first: the weights that a path of that dtype holds.
            shown_layer: Layer whose mask results show.
            rotary_offset: Added to each rotary position.

        Raises:
            UsageError: An unknown dtype.
            CheckpointError: A tapped layer that the teacher does not have.
        """
        if not all(0 <= layer <= pair.teacher.num_layers for layer in pair.taps.layers):
            raise CheckpointError(
                f"aux_layers should lie in 0..{pair.teacher.num_layers}, got {pair.taps.layers}"
            )
        self.pair = pair
        self.teacher = pair.teacher
        self.drafter = pair.drafter
        self.shown_layer = shown_layer
        self.rotary_offset = rotary_offset
        self.dtype = torch_dtype(dtype)
        self.device = torch.device(device)
        self.arithmetic = arithmetic or Arithmetic()
        first = torch_dtype(rounded_to) if rounded_to is not None else None
        plain = with_plain_weights(pair.teacher_weights, pair.teacher.quantisation, first or self.dtype)
        convert = _Conversion(first, self.dtype, self.device)
        self.teacher_weights = convert.all(plain)
        self.drafter_weights = convert.all(pair.drafter_weights)
        self.target_from_draft = _vocabulary_map(pair).to(self.device, torch.int64, copy=True)

    def computing(self, arithmetic: Arithmetic, wide: ReferenceModels | None = None) -> ReferenceModels:
        """Return the same weights, shared, computed with in another way.

        Args:
            arithmetic: How.
            wide: Holds the same weights in the wider dtype in which this way computes, so that they need not
                be widened at each use. Embeddings keep their dtype: it is that of the rows.
        """
        other = copy.copy(self)
        other.arithmetic = arithmetic
        if wide is not None:
            other.teacher_weights = _widened(self.teacher_weights, wide.teacher_weights)
            other.drafter_weights = _widened(self.drafter_weights, wide.drafter_weights)
        return other

    def tokens(self, token_ids: Iterable[int]) -> Tensor:
        """Return token ids as int64 `[R]` on the device.

        Raises:
            UsageError: An id outside the vocabulary; torch would wrap a negative one around in silence.
        """
        ids = [int(token_id) for token_id in token_ids]
        outside = [token_id for token_id in ids if not 0 <= token_id < self.teacher.vocab_size]
        if outside:
            raise UsageError(f"token ids should lie in 0..{self.teacher.vocab_size - 1}, got {outside[0]}")
        return torch.tensor(ids, dtype=torch.int64, device=self.device)

    def floats(self, values: Any) -> Tensor:
        """Return a float tensor on the device in the dtype of the computation."""
        return torch.as_tensor(values).detach().to(self.device, self.dtype)


def _vocabulary_map(pair: ModelPair) -> Tensor:
    given = pair.target_from_draft
    return torch.arange(pair.teacher.vocab_size) if given is None else torch.as_tensor(given)


def torch_dtype(name: str) -> torch.dtype:
    """Return the torch dtype of that name.

    Raises:
        UsageError: Not one of `DTYPES`.
    """
    if name not in DTYPES:
        raise UsageError(f"dtype should be one of {', '.join(DTYPES)}, got {name!r}")
    return DTYPES[name]


class _NamedWeights(dict[str, Tensor]):
    """A dictionary whose missing entries are reported as what they are: a missing tensor."""

    def __missing__(self, name: str) -> Tensor:
        raise CheckpointError(f"the model pair should hold the tensor {name}, which its config asks for")


def _widened(own: Mapping[str, Tensor], wide: Mapping[str, Tensor]) -> dict[str, Tensor]:
    kept = {name: tensor for name, tensor in own.items() if name.endswith("embed_tokens.weight")}
    return _NamedWeights({**wide, **kept})


class _Conversion:
    """Converts and always copies: a path that writes into the given weights must not change what judges it.

    What is given under several names, as a tied head or a drafter's embedding is, is copied once. The given
    tensors are held meanwhile, so that no other takes the id of one.
    """

    def __init__(self, first: torch.dtype | None, dtype: torch.dtype, device: torch.device) -> None:
        self._first, self._dtype, self._device = first, dtype, device
        self._made: dict[int, tuple[Tensor, Tensor]] = {}

    def all(self, weights: Mapping[str, Any]) -> dict[str, Tensor]:
        return _NamedWeights({name: self._one(tensor) for name, tensor in weights.items()})

    def _one(self, tensor: Tensor) -> Tensor:
        if id(tensor) not in self._made:
            rounded = tensor.detach().to(self._first or tensor.dtype)
            self._made[id(tensor)] = (tensor, rounded.to(self._device, self._dtype, copy=True))
        return self._made[id(tensor)][1]
