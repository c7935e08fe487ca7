"""A tokenizer behind the words of `tracing.models`: default special tokens, raw bytes, chat on request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from tests.checkpoints import synthetic
from tracing.errors import ModelMissingError, UsageError
from workbench.checkpoints.tokenizer import DirectoryTokenizer, byte_from_character, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> DirectoryTokenizer:
    directory = tmp_path_factory.mktemp("tokenizer")
    synthetic.write_tokenizer(directory)
    return load_tokenizer(directory)


@given(text=st.text(max_size=40))
def test_bytes_of_tokens_are_the_text(tokenizer: DirectoryTokenizer, text: str) -> None:
    """Catches a byte table that is off for control characters, spaces or the second half of a letter."""
    token_ids = tokenizer.encode(text, special_tokens=False)
    assert b"".join(tokenizer.token_bytes(token_id) for token_id in token_ids) == text.encode()
    assert tokenizer.decode(token_ids) == text


def test_default_special_tokens_are_added_once(tokenizer: DirectoryTokenizer) -> None:
    assert tokenizer.encode("the words")[0] == 1
    assert tokenizer.encode("the words")[1:] == tokenizer.encode("the words", special_tokens=False)
    assert tokenizer.token_bytes(1) == b"<s>"
    assert tokenizer.eos_token_id == 2


def test_byte_table_is_a_bijection_of_the_library(tokenizer: DirectoryTokenizer) -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    table = byte_from_character()
    assert sorted(table.values()) == list(range(256))
    assert set(table) == set(ByteLevel.alphabet())
    assert tokenizer.decode([]) == ""


def test_ids_of_a_padded_vocabulary_have_no_bytes_and_do_not_fail(tokenizer: DirectoryTokenizer) -> None:
    beyond = tokenizer.vocab_size + 5
    assert tokenizer.token_bytes(beyond) == b""
    assert tokenizer.decode([beyond, -1]) == ""


def test_sentencepiece_style_bytes(tmp_path: Path) -> None:
    """A space mark is a space, `<0x0A>` is a newline, and half a letter stays half a letter."""
    vocabulary = {"<unk>": 0, "\u2581the": 1, "<0x0A>": 2, "<0xC3>": 3, "s": 4}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback()])
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path)
    assert [tokenizer.token_bytes(i) for i in (1, 2, 3, 4)] == [b" the", b"\n", b"\xc3", b"s"]


def test_chat_only_on_request(tmp_path: Path) -> None:
    template = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
    synthetic.write_tokenizer(tmp_path, chat_template=template)
    with_template = load_tokenizer(tmp_path)
    assert with_template.apply_chat([{"role": "user", "content": "hi"}]) == "[user]hi"
    assert with_template.decode(with_template.encode("hi")) == "<s>hi"
    synthetic.write_tokenizer(tmp_path)
    with pytest.raises(UsageError, match="no chat template"):
        load_tokenizer(tmp_path).apply_chat([{"role": "user", "content": "hi"}])


def test_a_template_that_refuses_is_one_sentence(tmp_path: Path) -> None:
    synthetic.write_tokenizer(tmp_path, chat_template="{{ raise_exception('no user first') }}")
    with pytest.raises(UsageError, match="refuses these messages: no user first"):
        load_tokenizer(tmp_path).apply_chat([{"role": "system", "content": "x"}])


def test_a_tokenizer_class_from_remote_code_is_not_needed(tmp_path: Path) -> None:
    """openPangu names its own class; the fast file says all that is needed."""
    remote = {"AutoTokenizer": ["tokenization_mine.Mine", None]}
    synthetic.write_tokenizer(tmp_path, tokenizer_class="Mine", auto_map=remote)
    assert load_tokenizer(tmp_path).encode("the")[0] == 1


def test_only_a_sentencepiece_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({}), encoding="utf-8")
    with pytest.raises(
        ModelMissingError, match=r"tokenizer\.model is there: save it once as a fast tokenizer"
    ):
        load_tokenizer(tmp_path)
