"""Faults of who attends to whom: as built, as handed over, as consumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch

from tracing.stages import Tensorized
from workbench.faults.edits import deep_node, poked, sibling_pair
from workbench.faults.fault import Fault
from workbench.faults.placement import Placement, Scene, after, before, on_function, within
from workbench.fused import verify

ATTENTION: Final = "npu_fused_infer_attention_score"
LONG: Final = 512
Blocked = Callable[[torch.Tensor], torch.Tensor]
Attend = Callable[..., Any]


def _on_mask(change: Callable[[torch.Tensor], torch.Tensor]) -> Placement:
    """Spoil `visible [N, L + N]` where verify turns it into the device's form."""
    return on_function(verify, "blocked_from_visible", lambda honest, visible: honest(change(visible)))


def _tree_block(change: Callable[[torch.Tensor], torch.Tensor]) -> Placement:
    def spoiled(visible: torch.Tensor) -> torch.Tensor:
        committed_len = visible.shape[1] - visible.shape[0]
        return torch.cat([visible[:, :committed_len], change(visible[:, committed_len:])], dim=1)

    return _on_mask(spoiled)


def _first_column_hidden(visible: torch.Tensor) -> torch.Tensor:
    hidden = visible.clone()
    hidden[:, 0] = False
    return hidden


def _sibling_leak(made: Tensorized, _: Scene) -> Any:
    return poked(made, "visible", sibling_pair(made)[::-1], value=True)


def _root_hidden(made: Tensorized, _: Scene) -> Any:
    return poked(made, "visible", (slice(1, None), 0), value=False)


def _self_hidden(made: Tensorized, _: Scene) -> Any:
    node = deep_node(made)
    return poked(made, "visible", (node, node), value=False)


def _changed_after_build(arguments: tuple[Tensorized], _: Scene) -> tuple[Any]:
    tree = arguments[0]
    return (poked(tree, "visible", sibling_pair(tree)[::-1], value=True),)


def _of_the_step_before(arguments: tuple[Tensorized], scene: Scene) -> tuple[Tensorized]:
    """A buffer that is captured once: each launch reads what the step before has written."""
    stale = scene.memory.get("visible", arguments[0].visible)
    scene.memory["visible"] = arguments[0].visible
    return (replace(arguments[0], visible=stale),)


def _has_tree_mask(options: dict[str, Any], query: torch.Tensor) -> bool:
    mask = options.get("atten_mask")
    return mask is not None and mask.shape[-2] == query.shape[1] and options.get("sparse_mode") == 0


def _not_consumed(
    operator: Attend, query: torch.Tensor, key: torch.Tensor, *rest: Any, **options: Any
) -> Any:
    """A kernel without a mask argument: plain causal, whatever it was given."""
    if _has_tree_mask(options, query):
        positions = torch.arange(key.shape[1])
        hidden = positions > positions[-query.shape[1] :, None]
        options["atten_mask"] = hidden[None, None]
    return operator(query, key, *rest, **options)


def _ignored_beyond(
    operator: Attend, query: torch.Tensor, key: torch.Tensor, *rest: Any, **options: Any
) -> Any:
    if _has_tree_mask(options, query):
        options["atten_mask"] = options["atten_mask"].clone()
        options["atten_mask"][..., LONG:] = False
    return operator(query, key, *rest, **options)


def _added_as_one(
    operator: Attend, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options: Any
) -> Any:
    """A boolean mask added to the scores: +1 where a key is visible, 0 where it is not."""
    if not _has_tree_mask(options, query):
        return operator(query, key, value, **options)
    group = query.shape[2] // key.shape[2]
    keys, values = (rows.repeat_interleave(group, dim=2).transpose(1, 2) for rows in (key, value))
    scores = query.transpose(1, 2) @ keys.transpose(2, 3) * options["scale"]
    weights = (scores + torch.logical_not(options["atten_mask"]).to(scores.dtype)).softmax(-1)
    return (weights @ values).transpose(1, 2).contiguous(), torch.zeros(())


def _compressed_mode(operator: Attend, query: torch.Tensor, *rest: Any, **options: Any) -> Any:
    if _has_tree_mask(options, query):
        options["sparse_mode"] = 3
    return operator(query, *rest, **options)


def _as_numbers(operator: Attend, query: torch.Tensor, *rest: Any, **options: Any) -> Any:
    if _has_tree_mask(options, query):
        numbers = torch.zeros(options["atten_mask"].shape, dtype=torch.float16)
        options["atten_mask"] = numbers.masked_fill(options["atten_mask"], -torch.inf)
    return operator(query, *rest, **options)


HANDED_OVER: Final = (
    *("JUDGE-INPUT-LAUNCHED", "JUDGE-VERIFY-VISIBLE"),
    *("MASK001", "MASK002", "MASK003", "MASK004"),
)
COMPUTED: Final = ("JUDGE-VERIFY-KV", "JUDGE-VERIFY-FEATURES", "JUDGE-VERIFY-LOGITS")

FAULTS: Final = (
    Fault(
        id="F-MASK-01",
        name="polarity-inverted",
        about="True means visible where the device takes True as left out.",
        stage="verify",
        seen_in=("vllm-ascend attention_mask.py: the value depends on the dtype", "candle-org/MindAct#2196"),
        noticed_by=("NPU-FIA-MASK-POLARITY", "MASK005", "MASK009", *HANDED_OVER),
        place=lambda: _on_mask(torch.logical_not),
    ),
    Fault(
        id="F-MASK-02",
        name="mask-transposed",
        about="Ancestors attend to their descendants.",
        stage="verify",
        seen_in=("vllm#25511",),
        noticed_by=("MASK006", *HANDED_OVER),
        place=lambda: _tree_block(lambda block: block.T),
    ),
    Fault(
        id="F-MASK-03",
        name="tree-mask-dropped",
        about="The tree mask never reaches the call, which gets a causal one.",
        stage="verify",
        seen_in=("sgl#20278", "va#9678"),
        noticed_by=("MASK007", *HANDED_OVER),
        place=lambda: _tree_block(lambda block: torch.ones_like(block).tril()),
    ),
    Fault(
        id="F-MASK-04",
        name="mask-not-consumed",
        about="The call is given the right mask, and the kernel computes a causal one.",
        stage="verify",
        seen_in=("sgl#31948", "sgl#20278"),
        noticed_by=COMPUTED,
        place=lambda: within("verify", ATTENTION, _not_consumed),
    ),
    Fault(
        id="F-MASK-05",
        name="sibling-leak",
        about="A node attends to its sibling.",
        stage="tensorize",
        seen_in=("PaddlePaddle/FastDeploy#3514",),
        noticed_by=("JUDGE-TENSORIZE-VISIBLE",),
        place=lambda: after("tensorize", _sibling_leak),
    ),
    Fault(
        id="F-MASK-06",
        name="mask-changed-after-build",
        about="The mask is written to between its building and the launch.",
        stage="verify",
        seen_in=("eagle#299",),
        noticed_by=HANDED_OVER,
        place=lambda: before("verify", _changed_after_build),
    ),
    Fault(
        id="F-MASK-07",
        name="root-column-hidden",
        about="The walk to the root stops before it: no draft node attends to the root.",
        stage="tensorize",
        seen_in=("pie-project/pie#197",),
        noticed_by=("JUDGE-TENSORIZE-VISIBLE",),
        place=lambda: after("tensorize", _root_hidden),
    ),
    Fault(
        id="F-MASK-08",
        name="self-hidden",
        about="A bound is exclusive: a node does not attend to itself.",
        stage="tensorize",
        seen_in=("va#11849",),
        noticed_by=("JUDGE-TENSORIZE-VISIBLE",),
        place=lambda: after("tensorize", _self_hidden),
    ),
    Fault(
        id="F-MASK-09",
        name="mask-ignored-past-512",
        about="The kernel consumes the mask up to KV column 512 and takes everything behind it as visible.",
        stage="verify",
        seen_in=("va#15503",),
        noticed_by=COMPUTED,
        need="long",
        place=lambda: within("verify", ATTENTION, _ignored_beyond),
    ),
    Fault(
        id="F-MASK-10",
        name="mask-added-as-one",
        about="A boolean mask is added to the scores instead of cutting keys off.",
        stage="verify",
        seen_in=("speculators#691",),
        noticed_by=COMPUTED,
        place=lambda: within("verify", ATTENTION, _added_as_one),
    ),
    Fault(
        id="F-MASK-11",
        name="prefix-column-hidden",
        about="The first committed column is hidden from every node.",
        stage="verify",
        seen_in=("hf#48280",),
        noticed_by=("MASK009", "JUDGE-VERIFY-PREFIX"),
        place=lambda: _on_mask(_first_column_hidden),
    ),
    Fault(
        id="F-MASK-12",
        name="tree-in-a-compressed-mode",
        about="A tree mask is passed with sparse mode 3, which demands the 2048 x 2048 causal template.",
        stage="verify",
        seen_in=("va#8408",),
        noticed_by=("NPU-FIA-MASK-COMPRESSED",),
        place=lambda: within("verify", ATTENTION, _compressed_mode),
    ),
    Fault(
        id="F-MASK-13",
        name="mask-as-numbers",
        about="An additive mask of -inf is passed where the operator takes booleans.",
        stage="verify",
        seen_in=("tc-mb/llama.cpp-omni#89",),
        noticed_by=("NPU-FIA-MASK-DTYPE",),
        place=lambda: within("verify", ATTENTION, _as_numbers),
    ),
    Fault(
        id="F-MASK-14",
        name="tree-block-shifted",
        about="The tree block stands one column too far to the left.",
        stage="verify",
        seen_in=("hf#48280", "va#3187"),
        noticed_by=("MASK008", *HANDED_OVER),
        place=lambda: _tree_block(lambda block: block.roll(-1, dims=1)),
    ),
    Fault(
        id="F-MASK-15",
        name="mask-of-the-step-before",
        about="The launch reads the mask that the step before has left in the buffer.",
        stage="verify",
        seen_in=("sgl#37553", "va#4221"),
        noticed_by=HANDED_OVER,
        place=lambda: before("verify", _of_the_step_before),
    ),
)
