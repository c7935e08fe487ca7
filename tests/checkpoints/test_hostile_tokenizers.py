"""Tokenizer files and chat templates of any kind end in one sentence, soon, and never in a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import synthetic
from tests.checkpoints.test_hostile_files import refused
from tracing.errors import CheckpointError, UsageError
from workbench.checkpoints import chat_template
from workbench.checkpoints.load import load_pair


def words(vocab: object, **parts: Any) -> dict[str, Any]:
    """Return a tokenizer.json of whole words."""
    return {"model": {"type": "WordLevel", "vocab": vocab, "unk_token": "a"}, **parts}


LONGER = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 99}
MODEL, CONFIG, FAST = "tokenizer.json", "tokenizer_config.json", "PreTrainedTokenizerFast"
TOKENIZERS: dict[str, tuple[str, Any, str]] = {
    "list": (MODEL, [], "should hold a JSON object"),
    "empty": (MODEL, {}, "cannot be read"),
    "no model": (MODEL, {"model": {"type": "BPE", "vocab": 3, "merges": 5}}, "cannot be read"),
    "ids": (MODEL, words({"a": 10**30}), "cannot be read"),
    "huge id": (MODEL, words({"a": 4294967295}), "needs [0-9]{10} rows|cannot be read"),
    "growth": (MODEL, words({"a": 0}, normalizer={"normalizers": [LONGER] * 9}), "without bound"),
    "eos": (CONFIG, {"eos_token": 5}, "eos_token should be a text"),
    "class": (CONFIG, {"tokenizer_class": ["x"]}, "tokenizer_class should be a name"),
    "template": (CONFIG, {"chat_template": 5}, "chat_template should be a text"),
    "added": (CONFIG, {"tokenizer_class": FAST, "added_tokens_decoder": {"x": 5}}, "cannot be read"),
    "property": (CONFIG, {"added_tokens_decoder": {"1": {"\x1b[31m": 1}}}, "which no token has"),
    "special": ("special_tokens_map.json", [], "should hold a JSON object"),
    "generation": ("generation_config.json", {"eos_token_id": {"a": 1}}, "should be token ids"),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokenizers_of_any_kind(teacher_dir: Path, draft_dir: Path, name: str) -> None:
    file, data, sentence = TOKENIZERS[name]
    synthetic.write_json(teacher_dir / file, data)
    refused(lambda: load_pair(teacher_dir, draft_dir), sentence)


def test_a_panic_of_compiled_code_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from workbench.checkpoints import tokenizer

    class PanicException(BaseException):
        def __str__(self) -> str:
            raise RuntimeError

    def panic(*_: object, **__: object) -> None:
        raise PanicException

    synthetic.write_tokenizer(tmp_path)
    monkeypatch.setattr(tokenizer, "_backend", panic)
    refused(lambda: tokenizer.load_tokenizer(tmp_path), "tokenizer.json cannot be read: PanicException")


DOUBLING = (
    "{% set ns = namespace(t='xxxxxxxx') %}{% for i in range(40) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}"
    "{{ ns.t }}"
)


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "did not end"),
        ("{{ 'x' * 10**11 }}", "more than|MiB"),
        (DOUBLING, "MiB|refuses"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "calls itself|refuses"),
        ("{{ raise_exception('no system role') }}", "refuses these messages: no system role"),
        ("{{ 1 / 0 }}", "refuses these messages: division by zero"),
        ("{{ messages.nothing.here }}", "refuses these messages"),
        ("{% if %}", "refuses these messages"),
        ("{{ 9 ** (9 ** 9) }}", "did not end|refuses|MiB"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "refuses these messages"),
    ],
)
def test_templates_that_raise_loop_or_grow(
    monkeypatch: pytest.MonkeyPatch, template: str, sentence: str
) -> None:
    monkeypatch.setattr(chat_template, "CPU_SECONDS", 1)
    with pytest.raises(UsageError, match=sentence):
        chat_template.render(template, [{"role": "user", "content": "hi"}], {})


def test_checkpoint_errors_are_usage() -> None:
    assert CheckpointError("x").exit_code == 2
