"""`specwb texts FILE`: token ids of a closed engine, judged against the teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import click

from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from workbench.cli.common_options import choice_option
from workbench.cli.decode_options import model_option
from workbench.cli.output import say
from workbench.judge.texts import TextsTally

DTYPES: Final = ("float32", "bfloat16", "float16")


@click.command(name="texts")
@click.argument("file", metavar="FILE")
@model_option
@choice_option("--dtype", values=DTYPES, text="In which the engine computes; its own error is allowed.")
@click.option(
    "--stored", type=click.Choice(DTYPES), help="In which it keeps its weights, where that is narrower."
)
@click.option("--reference-device", default="cpu", show_default=True)
@click.option("--trust-remote-code", is_flag=True, help="Allow code that a checkpoint brings.")
@choice_option("--format", "output_format", values=["text", "json", "junit"])
def command(file: str, *, output_format: str, **options: Any) -> int:
    """Judge what an engine wrote: which is the first token that greedy decoding cannot have produced?

    FILE holds a JSON object a line: prompt_token_ids (or prompt as text) and output_token_ids; optional are
    id, accepted (drafts of each step), finish_reason, max_new_tokens, ignore_eos, stop_token_ids.

    Exit codes: 0 all texts are the teacher's (or proven near ties), 1 findings, 2 bad input, 3 models
    missing, 4 inconclusive.
    """
    from workbench.npu.bootstrap import bootstrap

    bootstrap("auto")
    from workbench.lockstep.texts.judging import TextJudge
    from workbench.lockstep.texts.lines import read_texts
    from workbench.lockstep.truth.reference_runner import ReferenceRunner

    teacher, shown, encode = _teacher(options)
    runner = ReferenceRunner(
        teacher.pair, DecodeSettings(), path_dtype=options["dtype"], device=options["reference_device"]
    )
    judge = TextJudge(runner, options["dtype"], frozenset(teacher.pair.eos_token_ids), shown)
    unread: dict[str, None] = {}
    tally = TextsTally()
    for record in read_texts(file, encode, lambda key: unread.update({key: None})):
        tally.add(judge(record))
    if not tally.num_texts:
        raise UsageError(f"{file} holds no text; a line is a JSON object, see docs/texts.md")
    if unread:
        say(f"not read    keys {', '.join(sorted(unread))}", err=True)
    facts = {"teacher": options["model"] or "shipped", "dtype": options["dtype"]}
    if options["stored"]:
        facts["stored"] = options["stored"]
    _report(tally, facts, file, output_format)
    return tally.exit_code


def _report(tally: TextsTally, facts: dict[str, Any], file: str, output_format: str) -> None:
    from workbench.report import texts

    if output_format == "json":
        click.echo(texts.as_json(tally, facts))
    elif output_format == "junit":
        click.echo(texts.as_junit(tally, file).rstrip("\n"))
    else:
        say("\n".join(texts.text_lines(tally, facts)))


def _teacher(options: dict[str, Any]) -> tuple[Any, Callable[[int], str], Callable[[str], list[int]]]:
    """Load the teacher, and what makes text of a token and tokens of a text."""
    from pathlib import Path

    from workbench.checkpoints.shipped import shipped_pair_dirs
    from workbench.checkpoints.tokenizer import load_tokenizer
    from workbench.lockstep.replay.teacher import load_teacher_only

    directory = Path(options["model"] or shipped_pair_dirs()[0])
    loaded = load_teacher_only(directory, trust_remote_code=options["trust_remote_code"])
    tokenizer = load_tokenizer(directory, trust_remote_code=options["trust_remote_code"])
    if options["stored"]:
        loaded = loaded._replace(pair=_stored(loaded.pair, options["stored"]))

    def shown(token_id: int) -> str:
        return f" {tokenizer.token_bytes(token_id).decode('utf-8', 'replace')!r}"

    return loaded, shown, tokenizer.encode


def _stored(pair: Any, dtype: str) -> Any:
    """Return a pair whose weights are rounded as the engine keeps them."""
    import torch

    narrow = getattr(torch, dtype)
    weights = {
        name: tensor.to(narrow).float() if tensor.is_floating_point() else tensor
        for name, tensor in pair.teacher_weights.items()
    }
    return replace(pair, teacher_weights=weights)
