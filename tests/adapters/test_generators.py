"""Every generator of candidates of the installed `transformers`: known by name, recorded, judged."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.generation import candidate_generator

from tests.adapters import generators_made as made
from tests.adapters.test_huggingface import PROMPT, generate, rows_of
from tests.checkpoints import synthetic
from tests.cli.conftest import Specwb
from tracing.errors import EnvironmentProblemError, UsageError
from tracing.reader import open_run
from workbench.adapters.huggingface import record_generate
from workbench.adapters.huggingface_facts import FACTORY_ARGUMENTS, PROPOSERS


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("llama")
    return synthetic.hf_teacher(folder, num_hidden_layers=3), folder


def early_exit(*_: Any) -> dict[str, Any]:
    return {"assistant_early_exit": 2}


def different_tokenizers(_: Any, folder: Path, __: Any) -> dict[str, Any]:
    other = synthetic.hf_teacher(folder / "assistant", vocab_size=290, num_hidden_layers=1)
    return {"assistant_model": made.assistant(other), **made.two_tokenizers(folder)}


def mtp(model: Any, _: Path, monkeypatch: Any) -> dict[str, Any]:
    made.mtp_layers(model, monkeypatch)
    return {"use_mtp": True}


def dflash(*_: Any) -> dict[str, Any]:
    return {"assistant_model": made.dflash_drafter(), "speculation_type": "dflash"}


def lookup(*_: Any) -> dict[str, Any]:
    return {"prompt_lookup_num_tokens": 4}


def draft_model(model: Any, *_: Any) -> dict[str, Any]:
    return {"assistant_model": made.assistant(model)}


GREEDY: list[tuple[str, Callable[..., dict[str, Any]]]] = [
    ("PromptLookupCandidateGenerator", lookup),
    ("AssistedCandidateGenerator", draft_model),
    ("AssistedCandidateGeneratorDifferentTokenizers", different_tokenizers),
    ("EarlyExitCandidateGenerator", early_exit),
    ("MTPCandidateGenerator", mtp),
    ("DFlashTokenCandidateGenerator", dflash),
]
ELSEWHERE = {"UniversalSpeculativeDecodingGenerator", "SinglePositionMultiTokenCandidateGenerator"}


def test_every_generator_of_the_library_is_known_and_run_here() -> None:
    base = candidate_generator.CandidateGenerator
    classes = {
        name
        for name, each in vars(candidate_generator).items()
        if inspect.isclass(each) and issubclass(each, base) and each is not base
    }
    assert classes == set(PROPOSERS)
    assert classes == {name for name, _ in GREEDY} | ELSEWHERE


@pytest.mark.parametrize("generator", GREEDY, ids=[name for name, _ in GREEDY])
def test_it_is_recorded_legal_and_the_teachers(
    specwb: Specwb,
    teacher: tuple[Any, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    generator: tuple[str, Callable[..., dict[str, Any]]],
) -> None:
    (model, folder), (name, options) = teacher, generator
    given = {"prompt_lookup_num_tokens": None, **options(model, folder, monkeypatch)}
    run = tmp_path / "run"
    plain = generate(model, prompt_lookup_num_tokens=None)
    with record_generate(model, run):
        assert generate(model, **given) == plain
    rows = rows_of(run)
    assert {row["proposer"] for row in rows} == {PROPOSERS[name]}
    assert max(len(row["token_ids"]) for row in rows) > 1
    assert {row["logits_kind"] for row in rows} == {"raw"}
    assert all(row["visible"] is not None for row in rows)
    answer = specwb("replay", run, "--model", folder, "--format", "json")
    summary = json.loads(answer.out)
    assert summary["findings"] == [], answer.out
    assert summary["emitted_token_ids"] == [plain[PROMPT.shape[1] :]]


def test_a_universal_assistant_samples(specwb: Specwb, teacher: tuple[Any, Path], tmp_path: Path) -> None:
    model, folder = teacher
    torch.manual_seed(0)
    with record_generate(model, tmp_path / "run"):
        generate(
            model,
            do_sample=True,
            top_k=0,
            prompt_lookup_num_tokens=None,
            **different_tokenizers(model, folder, None),
        )
    rows = rows_of(tmp_path / "run")
    assert {row["proposer"] for row in rows} == {"draft_model"}
    assert max(len(row["token_ids"]) for row in rows) > 1
    assert all(row["target_token_ids"] is None for row in rows)
    assert specwb("check", tmp_path / "run").exit_code == 0
    assert specwb("replay", tmp_path / "run", "--model", folder).exit_code in {0, 4}


def test_an_assistant_on_lent_rows_and_a_window(specwb: Specwb, tmp_path: Path) -> None:
    model = made.gemma()
    plain = generate(model, prompt_lookup_num_tokens=None)
    with record_generate(model, tmp_path / "run"):
        drafted = generate(
            model, assistant_model=made.Gemma4AssistantForCausalLM(model), prompt_lookup_num_tokens=None
        )
    assert drafted == plain
    rows = rows_of(tmp_path / "run")
    assert {row["proposer"] for row in rows} == {"single_position"}
    assert max(len(row["token_ids"]) for row in rows) == 4
    assert open_run(tmp_path / "run").manifest["model_facts"]["windows"] == [6, 0]
    assert specwb("check", tmp_path / "run").exit_code == 0


@pytest.mark.parametrize("kind", ["mistral", "qwen2"])
def test_a_window_is_a_fact_and_no_finding(specwb: Specwb, tmp_path: Path, kind: str) -> None:
    more = {"use_sliding_window": True, "max_window_layers": 0} if kind == "qwen2" else {}
    model = synthetic.hf_teacher(tmp_path / "model", kind, num_hidden_layers=2, sliding_window=5, **more)
    with record_generate(model, tmp_path / "run"):
        generate(model)
    assert any(row["visible"] is not None for row in rows_of(tmp_path / "run"))
    assert specwb("check", tmp_path / "run").exit_code == 0


def test_processed_and_mixed_choices_are_said(
    specwb: Specwb, teacher: tuple[Any, Path], tmp_path: Path
) -> None:
    model, folder = teacher
    with record_generate(model, tmp_path / "penalty"):
        text = generate(model, repetition_penalty=1.3)
    assert text != generate(model)
    assert {row["logits_kind"] for row in rows_of(tmp_path / "penalty")} == {"processed"}
    assert specwb("replay", tmp_path / "penalty", "--model", folder).exit_code in {0, 4}
    with record_generate(model, tmp_path / "mixed"):
        generate(
            model,
            prompt_lookup_num_tokens=None,
            assistant_ensemble_weight=0.3,
            assistant_model=made.assistant(model),
        )
    assert all(row["target_token_ids"] is None for row in rows_of(tmp_path / "mixed"))
    assert specwb("check", tmp_path / "mixed").exit_code == 0


def test_generate_without_candidates_is_no_ok(
    specwb: Specwb, teacher: tuple[Any, Path], tmp_path: Path
) -> None:
    with record_generate(teacher[0], tmp_path / "run"):
        generate(teacher[0], prompt_lookup_num_tokens=None)
    assert specwb("check", tmp_path / "run").exit_code == 4


def test_another_version_is_refused_by_name(teacher: tuple[Any, Path], tmp_path: Path) -> None:
    class Older:
        def _get_candidate_generator(self, generation_config: Any, input_ids: Any) -> None: ...

    with (
        pytest.raises(EnvironmentProblemError, match=r"transformers 5.* Older .* logits_processor"),
        record_generate(Older(), tmp_path / "run"),
    ):
        pass
    assert not (tmp_path / "run").exists()
    factory = inspect.signature(teacher[0]._get_candidate_generator)
    assert set(factory.parameters) >= FACTORY_ARGUMENTS


def test_drafts_that_are_no_chain_are_refused(
    teacher: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = teacher
    config: Any = copy.deepcopy(model.generation_config)
    config.prompt_lookup_num_tokens, config.max_length, config._eos_token_tensor = 4, 30, None
    given = {"generation_config": config, "input_ids": PROMPT, "inputs_tensor": PROMPT, "model_kwargs": {}}
    generator = candidate_generator.PromptLookupCandidateGenerator
    monkeypatch.setattr(generator, "get_candidates", lambda _, ids: (torch.cat([ids, ids]), None))
    with record_generate(model, tmp_path / "run"):
        made_by_it = model._get_candidate_generator(**given, logits_processor=[])
        with pytest.raises(UsageError, match="drafts 2 rows; only a chain"):
            made_by_it.get_candidates(PROMPT)
