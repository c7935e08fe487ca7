"""Results of a stage as they are received: of the type, kinds and shapes that the seam prescribes.

Only form is checked here: a number that is merely wrong passes through, is recorded and judged. Lists and
tensors become host arrays; every array and tensor is copied, so that a later stage of the path that writes
into what an earlier one gave does not change what the earlier one is judged by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np
import torch

from tracing.errors import ShapeMismatchError
from tracing.hostarray import host_array
from tracing.stages import Accepted, Committed, Drafted, DraftLevel, Prefilled, Tensorized, Verified

Sizes = dict[str, int]
"""Letter of a dimension to its size; a letter that is not there yet takes the first size that comes."""

FORMS: Final[Mapping[str, tuple[type, Mapping[str, str]]]] = {
    "prefill": (
        Prefilled,
        {"context_token_ids": "int L+1", "logits": "tensor V", "features": "tensor L F"},
    ),
    "draft": (
        Drafted,
        {
            "token_ids": "int n",
            "parents": "int n",
            "depths": "int? n",
            "logprobs": "float? n",
            "flat_ids": "int? n-1",
            "levels": "levels?",
            "top1_offsets": "masked? n H",
            "draft_probs": "float? n",
            "proposer": "text",
        },
    ),
    "tensorize": (
        Tensorized,
        {
            "token_ids": "int N",
            "parents": "int N",
            "depths": "int N",
            "valid": "bool N",
            "logprobs": "float? N",
            "position_ids": "int N",
            "cache_positions": "int N",
            "visible": "bool N N",
            "slots": "int? N",
        },
    ),
    "verify": (
        Verified,
        {
            "visible": "bool N N",
            "prefix_visible": "int N",
            "other_visible": "int N",
            "logits": "tensor N V",
            "target_token_ids": "int N",
            "features": "tensor N F",
            "kernel": "text",
        },
    ),
    "accept": (
        Accepted,
        {
            "accepted_nodes": "int A",
            "final_token_id": "number",
            "emitted_token_ids": "int E",
            "path_indices": "int P",
            "stop_reason": "text?",
            "draws": "float? D",
        },
    ),
    "commit": (
        Committed,
        {
            "committed_len": "number",
            "committed_len_after": "number",
            "commit_mode": "text?",
            "commit_fallback": "text?",
            "prefix_kept": "truth?",
        },
    ),
}
"""Per stage: the class of its result and the form of each field, a kind and its dimensions; `?` allows None.

L committed tokens, V teacher vocabulary, F width of the tapped features, N tree nodes with pads, n drafted
nodes. What accept gives may have any length: the judge says which one is right, so A, E and P are free.
"""
LEVEL: Final = {"beam_flat_ids": "int B", "token_ids": "int C K", "scores": "float C K"}
"""Form of one `DraftLevel`: B beams, C rows of K candidates; C is B, but 1 at level 0, where B is 0."""
KINDS: Final = {"int": "iu", "bool": "b", "float": "f", "masked": "iu"}
DTYPES: Final = {"int": np.int64, "bool": np.bool_, "float": np.float32, "masked": np.int32}


class InvalidStageResultError(Exception):
    """A result that is none of its stage's.

    Attributes:
        column: Field of the result, or empty for the result as a whole.
        expected, came: What it should be and what it is, as short text.
    """

    def __init__(self, column: str, expected: str, came: str) -> None:
        super().__init__(f"{column or 'its result'} should be {expected}, got {came}")
        self.column = column
        self.expected = expected
        self.came = came


def validated(stage: str, result: Any, sizes: Mapping[str, int]) -> Any:
    """Return an own copy of a stage's result, with host arrays where the seam has them.

    Args:
        stage: One of `FORMS`.
        result: What the stage returned.
        sizes: The dimensions that are known: L, V, F and N.

    Raises:
        InvalidStageResultError: It does not have the form of that stage's result.
    """
    kind, forms = FORMS[stage]
    if not isinstance(result, kind):
        raise InvalidStageResultError("", f"a {kind.__name__}", _name(result))
    return kind(**_taken(result, forms, dict(sizes)))


def _taken(result: Any, forms: Mapping[str, str], sizes: Sizes) -> dict[str, Any]:
    known = {field.name for field in fields(result)}
    return {name: _field(name, getattr(result, name), forms[name], sizes) for name in forms if name in known}


def _field(name: str, value: Any, form: str, sizes: Sizes) -> Any:
    kind, *dims = form.split()
    if kind.endswith("?"):
        if value is None:
            return None
        kind = kind[:-1]
    if kind == "levels":
        return _levels(value)
    if kind == "tensor":
        return _tensor(name, value, dims, sizes)
    return _array(name, value, (kind, dims), sizes) if kind in KINDS else _scalar(name, value, kind)


def _array(name: str, value: Any, form: tuple[str, Sequence[str]], sizes: Sizes) -> Any:
    kind, dims = form
    try:
        array = host_array(value, name)
    except ShapeMismatchError as problem:
        raise InvalidStageResultError(name, f"an array of {kind}", f"{_name(value)} ({problem})") from problem
    if array.size == 0 and isinstance(value, (list, tuple)):
        array = array.astype(DTYPES[kind])  # an empty list says nothing about its kind
    hidden = np.ma.is_masked(array) and kind != "masked"
    if array.dtype.kind not in KINDS[kind] or hidden:
        raise InvalidStageResultError(
            name, f"an array of {kind}", "missing values" if hidden else str(array.dtype)
        )
    _fit(name, array.shape, dims, sizes)
    copied = np.ma.MaskedArray if kind == "masked" else np.asarray
    return copied(array).astype(DTYPES[kind], copy=True)


def _tensor(name: str, value: Any, dims: Sequence[str], sizes: Sizes) -> torch.Tensor:
    """A float tensor stays on its device and in its dtype."""
    if isinstance(value, torch.Tensor):
        tensor = value.detach().clone()
    else:
        try:
            tensor = torch.tensor(host_array(value, name))
        except (ShapeMismatchError, TypeError, ValueError) as problem:
            raise InvalidStageResultError(name, "a tensor of floats", _name(value)) from problem
    if not tensor.is_floating_point():
        raise InvalidStageResultError(name, "a tensor of floats", str(tensor.dtype))
    _fit(name, tuple(tensor.shape), dims, sizes)
    return tensor


def _scalar(name: str, value: Any, kind: str) -> Any:
    if kind == "text":
        if isinstance(value, str):
            return value
        raise InvalidStageResultError(name, "text", _name(value))
    try:
        array = host_array(value if hasattr(value, "__array__") else np.asarray(value), name)
    except ShapeMismatchError as problem:
        raise InvalidStageResultError(name, "one number", _name(value)) from problem
    allowed, expected = ("b", "True or False") if kind == "truth" else ("iu", "one integer")
    if array.size != 1 or array.dtype.kind not in allowed:
        raise InvalidStageResultError(
            name, expected, f"{_name(value)} of {array.dtype}, shape {list(array.shape)}"
        )
    return array.item()


def _levels(value: Any) -> tuple[DraftLevel, ...]:
    if not isinstance(value, (list, tuple)):
        raise InvalidStageResultError("levels", "a tuple of DraftLevel", _name(value))
    sizes: Sizes = {}
    levels = []
    for number, level in enumerate(value):
        if not isinstance(level, DraftLevel):
            raise InvalidStageResultError(
                "levels", "a tuple of DraftLevel", f"{_name(level)} at level {number}"
            )
        sizes = {name: size for name, size in sizes.items() if name == "K"}
        taken = _taken(level, LEVEL, sizes)
        beams = 1 if number == 0 else sizes["B"]
        if sizes["C"] != beams or (number == 0 and sizes["B"]):
            raise InvalidStageResultError(
                "levels", f"{beams} rows at level {number}", f"{sizes['C']} of {sizes['B']} beams"
            )
        levels.append(DraftLevel(**taken))
    return tuple(levels)


def _fit(name: str, shape: tuple[int, ...], dims: Sequence[str], sizes: Sizes) -> None:
    """Compare a shape with its dimensions (`N`, `L+1`, `n-1`) and remember the letters seen first."""
    if len(shape) != len(dims):
        raise InvalidStageResultError(name, f"of shape [{', '.join(dims)}]", str(list(shape)))
    for dim, size in zip(dims, shape, strict=True):
        letter, more = dim[0], int(dim[1:] or 0)
        if sizes.setdefault(letter, size - more) + more != size:
            wanted = [sizes.get(each[0], -1) + int(each[1:] or 0) for each in dims]
            expected = ", ".join("any" if one < 0 else str(one) for one in wanted)
            raise InvalidStageResultError(name, f"of shape [{expected}]", str(list(shape)))


def _name(value: Any) -> str:
    return "None" if value is None else type(value).__name__
