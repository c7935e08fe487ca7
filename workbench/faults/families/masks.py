"""Faults of who attends to whom: as built, as passed to the call, as consumed by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch

from tracing.stages import Tensorized
from workbench.faults.edits import deep_node, poked, sibling_pair
from workbench.faults.fault import fault
from workbench.faults.placement import Placement, Scene, before, on_function, within
from workbench.fused import verify

LONG: Final = 512
Attend = Callable[..., Any]
BUILT: Final = ("JUDGE-TENSORIZE-VISIBLE",)
PASSED_ON: Final = (
    *("JUDGE-INPUT-LAUNCHED", "JUDGE-VERIFY-VISIBLE"),
    *("MASK001", "MASK002", "MASK003", "MASK004"),
)
COMPUTED: Final = ("JUDGE-VERIFY-KV", "JUDGE-VERIFY-FEATURES", "JUDGE-VERIFY-LOGITS")

IN_VERIFY: Final = within("verify", "npu_fused_infer_attention_score")


def on_mask(change: Callable[[torch.Tensor], torch.Tensor]) -> Placement:
    """Spoil `visible [N, L + N]` where verify turns it into the device's form."""
    return on_function(verify, "blocked_from_visible")(lambda original, visible: original(change(visible)))


def on_tree_block(change: Callable[[torch.Tensor], torch.Tensor]) -> Placement:
    """Spoil the last N columns of it."""

    def spoiled(visible: torch.Tensor) -> torch.Tensor:
        committed_len = visible.shape[1] - visible.shape[0]
        return torch.cat([visible[:, :committed_len], change(visible[:, committed_len:])], dim=1)

    return on_mask(spoiled)


def _has_tree_mask(options: dict[str, Any], query: torch.Tensor) -> bool:
    mask = options.get("atten_mask")
    return mask is not None and mask.shape[-2] == query.shape[1] and options.get("sparse_mode") == 0


block_fault: Final = partial(fault, stage="verify", placed=on_tree_block)
call_fault: Final = partial(fault, stage="verify", placed=IN_VERIFY)
build_fault: Final = partial(fault, stage="tensorize", noticed_by=BUILT)


@fault(
    "F-MASK-01",
    "vllm-ascend attention_mask.py: the value depends on the dtype",
    "candle-org/MindAct#2196",
    stage="verify",
    noticed_by=("NPU-FIA-MASK-POLARITY", "MASK005", "MASK009", *PASSED_ON),
    placed=on_mask,
)
def polarity_inverted(visible: torch.Tensor) -> torch.Tensor:
    """True means visible where the device takes True as left out."""
    return visible.logical_not()


@block_fault("F-MASK-02", "vllm#25511", noticed_by=("MASK006", *PASSED_ON))
def mask_transposed(block: torch.Tensor) -> torch.Tensor:
    """Ancestors attend to their descendants."""
    return block.T


@block_fault("F-MASK-03", "sgl#20278", "va#9678", noticed_by=("MASK007", *PASSED_ON))
def tree_mask_dropped(block: torch.Tensor) -> torch.Tensor:
    """The tree mask never reaches the call, which gets a causal one."""
    return torch.ones_like(block).tril()


@call_fault("F-MASK-04", "sgl#31948", "sgl#20278", noticed_by=COMPUTED)
def mask_not_consumed(
    operator: Attend, query: torch.Tensor, key: torch.Tensor, *rest: Any, **options: Any
) -> Any:
    """The call is given the right mask, and the kernel computes a causal one."""
    if _has_tree_mask(options, query):
        positions = torch.arange(key.shape[1], device=key.device)
        hidden = positions > positions[-query.shape[1] :, None]
        options["atten_mask"] = hidden[None, None]
    return operator(query, key, *rest, **options)


@build_fault("F-MASK-05", "PaddlePaddle/FastDeploy#3514")
def sibling_leak(made: Tensorized, _: Scene) -> Any:
    """A node attends to its sibling."""
    return poked(made, "visible", sibling_pair(made)[::-1], value=True)


@fault("F-MASK-06", "eagle#299", stage="verify", noticed_by=PASSED_ON, placed=before("verify"))
def mask_changed_after_build(arguments: tuple[Tensorized], _: Scene) -> tuple[Any]:
    """The mask is written to between its building and the launch."""
    tree = arguments[0]
    return (poked(tree, "visible", sibling_pair(tree)[::-1], value=True),)


@build_fault("F-MASK-07", "pie-project/pie#197")
def root_column_hidden(made: Tensorized, _: Scene) -> Any:
    """The walk to the root stops before it: no draft node attends to the root."""
    return poked(made, "visible", (slice(1, None), 0), value=False)


@build_fault("F-MASK-08", "va#11849")
def self_hidden(made: Tensorized, _: Scene) -> Any:
    """A bound is exclusive: a node does not attend to itself."""
    node = deep_node(made)
    return poked(made, "visible", (node, node), value=False)


@call_fault("F-MASK-09", "va#15503", noticed_by=COMPUTED, need="long")
def mask_ignored_past_512(
    operator: Attend, query: torch.Tensor, key: torch.Tensor, *rest: Any, **options: Any
) -> Any:
    """The kernel consumes the mask up to KV column 512 and takes everything behind it as visible."""
    if _has_tree_mask(options, query):
        options["atten_mask"] = options["atten_mask"].clone()
        options["atten_mask"][..., LONG:] = False
    return operator(query, key, *rest, **options)


@call_fault("F-MASK-10", "speculators#691", noticed_by=COMPUTED)
def mask_added_as_one(
    operator: Attend, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options: Any
) -> Any:
    """A boolean mask is added to the scores instead of cutting keys off.

    It adds 1 where a key is visible, 0 where it is not.
    """
    if not _has_tree_mask(options, query):
        return operator(query, key, value, **options)
    group = query.shape[2] // key.shape[2]
    keys, values = (rows.repeat_interleave(group, dim=2).transpose(1, 2) for rows in (key, value))
    scores = query.transpose(1, 2) @ keys.transpose(2, 3) * options["scale"]
    weights = (scores + torch.logical_not(options["atten_mask"]).to(scores.dtype)).softmax(-1)
    return (weights @ values).transpose(1, 2).contiguous(), query.new_zeros(())


@fault("F-MASK-11", "hf#48280", stage="verify", noticed_by=("MASK009", "JUDGE-VERIFY-PREFIX"), placed=on_mask)
def prefix_column_hidden(visible: torch.Tensor) -> torch.Tensor:
    """The first committed column is hidden from every node."""
    hidden = visible.clone()
    hidden[:, 0] = False
    return hidden


@call_fault("F-MASK-12", "va#8408", noticed_by=("NPU-FIA-MASK-COMPRESSED",))
def tree_in_a_compressed_mode(operator: Attend, query: torch.Tensor, *rest: Any, **options: Any) -> Any:
    """A tree mask is passed with sparse mode 3, which demands the 2048 x 2048 causal template."""
    if _has_tree_mask(options, query):
        options["sparse_mode"] = 3
    return operator(query, *rest, **options)


@call_fault("F-MASK-13", "tc-mb/llama.cpp-omni#89", noticed_by=("NPU-FIA-MASK-DTYPE",))
def mask_as_numbers(operator: Attend, query: torch.Tensor, *rest: Any, **options: Any) -> Any:
    """An additive mask of -inf is passed where the operator takes booleans."""
    if _has_tree_mask(options, query):
        numbers = query.new_zeros(options["atten_mask"].shape, dtype=torch.float16)
        options["atten_mask"] = numbers.masked_fill(options["atten_mask"], -torch.inf)
    return operator(query, *rest, **options)


@block_fault("F-MASK-14", "hf#48280", "va#3187", noticed_by=("MASK008", *PASSED_ON))
def tree_block_shifted(block: torch.Tensor) -> torch.Tensor:
    """The tree block is one column too far to the left."""
    return block.roll(-1, dims=1)


@fault("F-MASK-15", "sgl#37553", "va#4221", stage="verify", noticed_by=PASSED_ON, placed=before("verify"))
def mask_of_the_step_before(arguments: tuple[Tensorized], scene: Scene) -> tuple[Tensorized]:
    """The launch reads the mask that the step before has left in the buffer.

    As with a buffer that is captured once.
    """
    stale = scene.memory.get("visible", arguments[0].visible)
    scene.memory["visible"] = arguments[0].visible
    return (replace(arguments[0], visible=stale),)
