"""Second, differently derived checks of what both paths share and lockstep therefore cannot see.

Key mapping, aux layers, `d2t`, rotary parameters and end tokens reach both paths through one loader. Each
function below derives its expectation another way than the loader did, and returns one `Check`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch

from tracing.models import DrafterConfig, RopeConfig, TeacherConfig
from workbench.checkpoints.aux_ids import AuxLayers
from workbench.checkpoints.report import Check
from workbench.checkpoints.teacher import EosIds


def judged(check_id: str, *, good: bool, sentence: str, otherwise: str = "failed") -> Check:
    """Return a check that is ok, or `otherwise`."""
    return Check(check_id, "ok" if good else otherwise, sentence)


doubted = partial(judged, otherwise="warning")
"""A check that is only a warning where it is not good."""


def teacher_parameters(config: TeacherConfig, weights: Mapping[str, torch.Tensor]) -> Check:
    """Compare the number of elements loaded with a closed formula over the configuration."""
    hidden, rows = config.hidden_size, config.num_heads * config.head_dim
    kv_rows = config.num_kv_heads * config.head_dim
    attention = hidden * (2 * rows + 2 * kv_rows)
    attention += config.qkv_bias * (rows + 2 * kv_rows) + config.o_bias * hidden
    attention += config.qk_norm * 2 * config.head_dim
    mlp = 3 * hidden * config.intermediate_size
    mlp += config.mlp_bias * (2 * config.intermediate_size + hidden)
    if (experts := config.experts) is not None:
        mlp = (
            experts.num_experts * (hidden + 1 + 3 * hidden * experts.width)
            + 3 * hidden * experts.shared_width
        )
    embeddings = config.vocab_size * hidden * (1 if config.tie_word_embeddings else 2)
    expected = embeddings + config.num_layers * (attention + mlp + 2 * hidden) + hidden
    found = count_elements(weights.values())
    return judged(
        "teacher.parameters",
        good=found == expected,
        sentence=f"teacher has {found:,} parameters; the configuration gives {expected:,}",
    )


def drafter_parameters(
    config: DrafterConfig, weights: Mapping[str, torch.Tensor], raw: Mapping[str, torch.Tensor], shared: int
) -> Check:
    """Compare what is used with what the file holds: nothing that counts may be left behind.

    Of the weights used, `shared` elements are the teacher's (its embedding).
    """
    in_file = sum(tensor.numel() for name, tensor in raw.items() if name not in ("d2t", "t2d"))
    used = count_elements(weights.values()) - shared
    return doubted(
        "drafter.parameters",
        good=used == in_file,
        sentence=f"drafter uses {used:,} of the {in_file:,} elements in its file "
        f"(head {config.draft_vocab_size} x {config.hidden_size})",
    )


def count_elements(tensors: Iterable[torch.Tensor]) -> int:
    """Count elements, a storage that occurs twice (a tied head) once."""
    by_storage = {(tensor.data_ptr(), tensor.numel()): tensor.numel() for tensor in tensors}
    return sum(by_storage.values())


def layer_order(weights: Mapping[str, torch.Tensor]) -> Check:
    """Look for two layers with the same attention weights: a key mapping that reads one layer twice."""
    queries = [tensor for name, tensor in weights.items() if name.endswith("self_attn.q_proj.weight")]
    twins = [
        f"{first} and {second}"
        for (first, one), (second, other) in itertools.pairwise(enumerate(queries))
        if torch.equal(one, other)
    ]
    return doubted(
        "teacher.layers_differ",
        good=not twins,
        sentence=f"neighbouring layers hold the same q_proj.weight: {twins[0]}"
        if twins
        else f"the {len(queries)} layers have different weights",
    )


def finite(role: str, weights: Mapping[str, torch.Tensor]) -> Check:
    """Look for NaN or Inf: a trainer's sign for weights that were never loaded."""
    broken = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    sentence = f"{broken[0]} holds NaN or Inf" if broken else f"all {role} weights are finite"
    return judged(f"{role}.finite", good=not broken, sentence=sentence)


def aux_layers(config: DrafterConfig, aux: AuxLayers, num_teacher_layers: int) -> Check:
    """Recompute low, middle and high tap from the teacher's depth alone; repeat what is doubtful."""
    expected = (2, num_teacher_layers // 2, num_teacher_layers - 3)
    distinct = len(set(config.aux_layers)) == len(config.aux_layers)
    doubt = f"; {aux.doubt}" if aux.doubt else ""
    return doubted(
        "drafter.aux_layers",
        good=not doubt and distinct,
        sentence=f"features enter layers {list(config.aux_layers)}{doubt}; the usual ones for "
        f"{num_teacher_layers} layers are {list(expected)}; all different: {distinct}",
    )


def config_doubts(role: str, doubts: tuple[str, ...]) -> Check:
    """Report the keys of config.json that were not taken at their word."""
    sentence = "; ".join(doubts) or "config.json is taken at its word"
    return doubted(f"{role}.config", good=not doubts, sentence=f"{role}: {sentence}")


def config_keys(role: str, unknown: tuple[str, ...]) -> Check:
    """Report the keys of config.json that no table knows: they were not read."""
    more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
    sentence = (
        f"keys not known and not read: {', '.join(unknown[:8])}{more}" if unknown else "every key is known"
    )
    return doubted(f"{role}.config_keys", good=not unknown, sentence=f"{role}: {sentence}")


def fc_width(weights: Mapping[str, torch.Tensor], teacher: TeacherConfig) -> Check:
    """Compare the width that `fc` reads with three teacher rows."""
    width, expected = int(weights["fc.weight"].shape[1]), 3 * teacher.hidden_size
    return judged(
        "drafter.fc_width",
        good=width == expected,
        sentence=f"fc.weight reads {width} values; three teacher rows have {expected}",
    )


def d2t_law(
    target_from_draft: torch.Tensor, t2d: torch.Tensor | None, draft_rows: int, vocab_size: int
) -> Check:
    """Walk the absolute map in plain Python: increasing, in range, and `t2d` marks exactly these ids."""
    ids = [int(token_id) for token_id in target_from_draft]
    increasing = all(low < high for low, high in itertools.pairwise(ids))
    in_range = all(0 <= token_id < vocab_size for token_id in ids)
    marked = None if t2d is None else {number for number, kept in enumerate(t2d.tolist()) if kept}
    agrees = marked is None or marked == set(ids)
    return judged(
        "drafter.d2t",
        good=increasing and in_range and agrees and len(ids) == draft_rows,
        sentence=f"d2t maps {len(ids)} draft ids into {vocab_size} target ids; "
        f"strictly increasing: {increasing}, in range: {in_range}, head rows: {draft_rows}, "
        + ("t2d absent" if marked is None else f"t2d marks {len(marked)}, the same ids: {agrees}"),
    )


def t2d_present(*, confirmed: bool, ambiguous: bool, convention: str) -> Check:
    """Report whether the reading of `d2t` rests on evidence or on convention."""
    sentence = f"d2t read as {convention}" + (", confirmed by t2d" if confirmed else ", t2d is absent")
    if ambiguous:
        sentence += "; offsets and absolute ids were both possible"
    good = confirmed or convention == "identity"
    return doubted("drafter.t2d", good=good, sentence=sentence)


def rope_pair(teacher: RopeConfig, drafter: RopeConfig) -> Check:
    """Compare rotary parameters: a drafter is trained with its own, but a dropped key shows here."""
    same = (teacher.theta, teacher.kind) == (drafter.theta, drafter.kind)
    return doubted(
        "pair.rope",
        good=same,
        sentence=f"rope of drafter: {drafter.kind}, theta {drafter.theta:g}; "
        f"of teacher: {teacher.kind}, theta {teacher.theta:g}",
    )


def rope_frequencies(role: str, rope: RopeConfig, hf_config: Mapping[str, Any]) -> Check:
    """Look for a theta anywhere in the raw configuration that the effective one does not use."""
    written = {
        float(holder["rope_theta"])
        for holder in (hf_config, hf_config.get("rope_parameters"), hf_config.get("rope_scaling"))
        if isinstance(holder, Mapping) and isinstance(holder.get("rope_theta"), int | float)
    }
    if not written:
        sentence = f"{role}: no rope_theta is written; {rope.theta:g} is the default"
        return Check(f"{role}.rope", "warning", sentence)
    return judged(
        f"{role}.rope",
        good=written == {rope.theta},
        sentence=f"{role}: rope_theta in force is {rope.theta:g}; written: {sorted(written)}",
    )


def eos(ids: EosIds) -> Check:
    """Compare the end tokens of tokenizer, config.json and generation_config.json."""
    where = {
        "config.json": sorted(ids.config),
        "generation_config.json": sorted(ids.generation),
        "tokenizer": [] if ids.tokenizer is None else [ids.tokenizer],
    }
    named = {name: values for name, values in where.items() if values}
    agree = all(set(values) <= ids.effective for values in named.values())
    sources = "; ".join(f"{name} {values}" for name, values in named.items()) or "named nowhere"
    return doubted(
        "pair.eos",
        good=agree and bool(ids.effective),
        sentence=f"end tokens in force {sorted(ids.effective)}: {sources}",
    )


def embeddings(drafter: torch.Tensor, teacher: torch.Tensor, *, own: bool) -> Check:
    """Report whether drafter and teacher embed a token alike."""
    if not own:
        return Check("pair.embedding", "ok", "the drafter ships no embedding and uses the teacher's")
    same = drafter.shape == teacher.shape and torch.equal(drafter.float(), teacher.float())
    sentence = (
        "the drafter's embedding is " + ("identical to" if same else "different from") + " the teacher's"
    )
    return doubted("pair.embedding", good=same, sentence=sentence)


def unexpected(role: str, names: tuple[str, ...]) -> Check:
    """Report tensors that nothing asked for."""
    sentence = f"{names[0]} and {len(names) - 1} more are not used" if names else "every tensor is used"
    return doubted(f"{role}.unexpected", good=not names, sentence=f"{role}: {sentence}")


def dtypes(role: str, weights: Mapping[str, torch.Tensor]) -> Check:
    """Report a mixture of dtypes: a path computes in one."""
    found = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in weights.values()})
    return doubted(f"{role}.dtypes", good=len(found) == 1, sentence=f"{role}: {', '.join(found)}")


def tokenizer_size(num_rows: int, vocab_size: int) -> Check:
    """Compare the tokenizer with the embedding: more tokens than rows is an index out of range."""
    return judged(
        "pair.tokenizer",
        good=num_rows <= vocab_size,
        sentence=f"the tokenizer needs {num_rows} rows; the teacher embeds {vocab_size}",
    )


def norm_flags(config: DrafterConfig, layout: str) -> Check:
    """Warn of `norm_output` in a layout whose older versions wrote it with another meaning."""
    doubtful = config.norm_output and layout == "specforge"
    note = "; older SpecForge versions wrote true for plain EAGLE-3 (un-normed)" if doubtful else ""
    return doubted(
        "drafter.norms",
        good=not doubtful,
        sentence=f"norm_output {config.norm_output}, norm_before_residual {config.norm_before_residual}, "
        f"fc_norm {config.fc_norm}, norm_before_fc {config.norm_before_fc}{note}",
    )
