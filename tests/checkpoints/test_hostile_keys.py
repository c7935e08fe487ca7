"""A key of any type, and rotary parameters of any size, load or end in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import synthetic
from tests.checkpoints.test_hostile_files import refused
from tracing.errors import SpecwbError
from workbench.checkpoints.load import load_pair

WRONG: list[Any] = [
    10**30,
    -1,
    0,
    1.5,
    True,
    "8",
    [],
    {},
    [[]],
    {"a": {}},
    "\ud800",
    1e308,
    5e-324,
    2**31 - 1,
]
KEYS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim", "vocab_size", "rms_norm_eps", "rope_theta", "max_position_embeddings", "rope_scaling",
    "rope_parameters", "sliding_window", "use_sliding_window", "layer_types", "max_window_layers",
    "tie_word_embeddings", "attention_bias", "mlp_bias", "hidden_act", "architectures", "model_type",
    "eos_token_id", "draft_vocab_size", "eagle_config", "eagle_aux_hidden_state_layer_ids", "norm_output",
    "norm_before_residual", "norm_before_fc", "fc_norm", "target_hidden_size", "speculators_model_type",
    "transformer_layer_config", "quantization_config", "partial_rotary_factor", "num_aux_hidden_states",
)  # fmt: skip


def outcome(teacher: Path, draft: Path) -> tuple[int, str]:
    """Return the exit code of loading, and the sentence of a refusal."""
    try:
        load_pair(teacher, draft)
    except SpecwbError as error:
        return error.exit_code, str(error)
    return 0, ""


@pytest.mark.parametrize("role", ["teacher", "draft"])
@pytest.mark.parametrize("key", KEYS)
def test_a_key_of_any_type_loads_or_is_one_sentence(
    teacher_dir: Path, draft_dir: Path, role: str, key: str
) -> None:
    config = {"teacher": teacher_dir, "draft": draft_dir}[role] / "config.json"
    sane = json.loads(config.read_text(encoding="utf-8"))
    for kind in ("llama", "mistral", "qwen2"):
        for value in WRONG:
            synthetic.write_json(
                config, sane | {"model_type": kind, "use_sliding_window": True} | {key: value}
            )
            code, sentence = outcome(teacher_dir, draft_dir)
            assert code in {0, 2, 3}
            assert len(sentence) < 700
            assert sentence.isprintable()


@pytest.mark.parametrize(
    "block",
    [
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 64},
        {"rope_type": "linear", "factor": "8"}, {"rope_type": "linear", "factor": 0},
        {"rope_type": "yarn", "factor": -1.0, "original_max_position_embeddings": 64},
        {"rope_type": ["yarn"]}, {"rope_type": "yarn", "factor": 2.0, "beta_fast": "x"},
        {"rope_type": "linear", "factor": 1e39, "rope_theta": 10**39},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "attention_factor": [1]},
    ],
)  # fmt: skip
def test_rope_parameters_that_cannot_be(teacher_dir: Path, draft_dir: Path, block: dict[str, Any]) -> None:
    synthetic.edit_json(draft_dir / "config.json", rope_scaling=block, rope_theta=...)
    refused(lambda: load_pair(teacher_dir, draft_dir), "rope|factor|beta_fast")
