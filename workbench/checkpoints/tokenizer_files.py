"""The files of a tokenizer, checked before a library reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tracing.errors import CheckpointError, ModelMissingError
from workbench.checkpoints.files import optional_json, read_json
from workbench.checkpoints.json_text import shown

MAX_TOKENIZER: Final = 64 << 20
MAX_TEMPLATE: Final = 1 << 20
CONFIG: Final = "tokenizer_config.json"
BESIDE: Final = ("special_tokens_map.json", "added_tokens.json", "chat_template.json", "config.json")
TEMPLATE: Final = "chat_template.jinja"
MAX_GROWTH: Final = 4096
"""How much longer the replacements of a normalizer may make a text, all together."""
SPECIAL: Final = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def read_tokenizer_files(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the contents of tokenizer.json and of tokenizer_config.json; check what lies beside them.

    Raises:
        ModelMissingError: No `tokenizer.json`.
        CheckpointError: A file is broken, or grows texts beyond measure.
    """
    try:
        layout = read_json(directory / "tokenizer.json", most_bytes=MAX_TOKENIZER)
    except ModelMissingError:
        others = [name for name in ("tokenizer.model", "vocab.json") if (directory / name).is_file()]
        hint = f" ({others[0]} is there: save it once as a fast tokenizer)" if others else ""
        raise ModelMissingError(f"tokenizer.json is missing in {directory}{hint}") from None
    _refuse_growth(layout, directory / "tokenizer.json")
    config = optional_json(directory / CONFIG)
    _check_config(config, directory / CONFIG)
    for name in BESIDE:
        optional_json(directory / name)
    template = directory / TEMPLATE
    if template.exists() and (not template.is_file() or template.stat().st_size > MAX_TEMPLATE):
        raise CheckpointError(f"{template} should be a regular file of at most {MAX_TEMPLATE:,} bytes")
    return layout, config


def _check_config(config: Mapping[str, Any], path: Path) -> None:
    for key in SPECIAL:
        token = config.get(key)
        text = token.get("content") if isinstance(token, Mapping) else token
        if token is not None and not isinstance(text, str):
            raise CheckpointError(f"{path}: {key} should be a text, got {shown(token)}")
    kind = config.get("tokenizer_class")
    if kind is not None and not isinstance(kind, str):
        raise CheckpointError(f"{path}: tokenizer_class should be a name, got {shown(kind)}")
    for node in _nodes({key: config.get(key) for key in (*SPECIAL, "added_tokens_decoder")}):
        odd = next((key for key in node if not (key.isidentifier() or key.isdecimal())), None)
        if odd is not None:
            raise CheckpointError(f"{path}: a token has the property {shown(odd)}, which no token has")
    template = config.get("chat_template")
    if not isinstance(template, str | list | dict | None):
        raise CheckpointError(f"{path}: chat_template should be a text, got {shown(template)}")


def special_text(config: Mapping[str, Any], key: str) -> str | None:
    """Return the text of a special token, which may be written with its properties."""
    token = config.get(key)
    text = token.get("content") if isinstance(token, Mapping) else token
    return text if isinstance(text, str) else None


def _refuse_growth(layout: Mapping[str, Any], path: Path) -> None:
    growth = 1
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        for node in _nodes(layout.get(part)):
            content = node.get("content")
            if node.get("type") in ("Replace", "Prepend") and isinstance(content, str):
                growth *= max(1, len(content))
            if growth > MAX_GROWTH:
                raise CheckpointError(f"{path}: the replacements of its {part} make a text without bound")


def _nodes(value: object) -> Iterator[Mapping[str, Any]]:
    """Yield every object inside a part, the part itself included; the depth of the file is bounded."""
    if isinstance(value, Mapping):
        yield value
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for child in children:
        yield from _nodes(child)


def is_byte_level(layout: Mapping[str, Any]) -> bool:
    """Decide by the decoder: it must turn the alphabet back into bytes."""
    return any(node.get("type") == "ByteLevel" for node in _nodes(layout.get("decoder")))
