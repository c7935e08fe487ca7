"""Command line: `python -m examples.tiny_pangu train --out DIR`, or `suite` for the evaluation suite."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tokenizers import Tokenizer

from examples.tiny_pangu.recipe import Recipe, Workspace
from examples.tiny_pangu.stages import STAGES, run_stages
from examples.tiny_pangu.suite import suite_prompts, write_suite


def main() -> None:
    """Train the pair, or the part of it that is not there yet; or write the evaluation suite."""
    parser = argparse.ArgumentParser(prog="python -m examples.tiny_pangu", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="corpus, teacher, generated text, drafter, export, measurement")
    train.add_argument("--out", type=Path, required=True, help="working directory; what is there is kept")
    train.add_argument("--until", choices=[stage.name for stage in STAGES], default=STAGES[-1].name)
    train.add_argument("--threads", type=int, default=2)
    train.add_argument("--eager", action="store_true", help="slower, and bit-reproducible on one machine")
    suite = commands.add_parser("suite", help="the evaluation suite, from the held-out files")
    suite.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json of the pair")
    suite.add_argument("--out", type=Path, required=True, help="the .jsonl file to write")
    options = parser.parse_args()
    if options.command == "suite":
        write_suite(options.out, suite_prompts(Tokenizer.from_file(str(options.tokenizer))))
        return
    torch.set_num_threads(options.threads)
    run_stages(Recipe(), Workspace(options.out), until=options.until, compiled=not options.eager)


if __name__ == "__main__":
    main()
