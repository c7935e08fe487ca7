"""Commands: `train --out DIR`, `further --out DIR` for a teacher that is there; prompts: `suite`, `fresh`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tokenizers import Tokenizer

from examples.tiny_pangu.fresh import fresh_prompts, shipped_teacher
from examples.tiny_pangu.frozen import adopt_teacher
from examples.tiny_pangu.recipe import Recipe, Workspace
from examples.tiny_pangu.stages import FURTHER, GENERATE, STAGES, run_stages
from examples.tiny_pangu.suite import suite_prompts, write_suite
from workbench.checkpoints.shipped import shipped_pair_dirs


def main() -> None:
    """Train everything, or the part of it that is not there yet; or write the evaluation suite."""
    options = _options()
    if options.command == "suite":
        write_suite(options.out, suite_prompts(Tokenizer.from_file(str(options.tokenizer))))
        return
    if options.command == "fresh":
        torch.set_num_threads(1)
        tokenizer = Tokenizer.from_file(str(shipped_pair_dirs()[0] / "tokenizer.json"))
        write_suite(options.out, fresh_prompts(tokenizer, shipped_teacher()))
        return
    torch.set_num_threads(options.threads)
    recipe, workspace, compiled = Recipe(), Workspace(options.out), not options.eager
    if options.command == "further":
        adopt_teacher(recipe, workspace, options.teacher or shipped_pair_dirs()[0])
        run_stages(recipe, workspace, (GENERATE, *FURTHER), compiled=compiled)
    else:
        run_stages(recipe, workspace, until=options.until, compiled=compiled)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.tiny_pangu", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="corpus, teacher, its text, drafters, export, measurement")
    train.add_argument("--until", choices=[stage.name for stage in STAGES], default=STAGES[-1].name)
    further = commands.add_parser("further", help="Medusa heads and draft model of a teacher that is there")
    further.add_argument("--teacher", type=Path, help="its exported directory; default the shipped one")
    for command in (train, further):
        command.add_argument("--out", type=Path, required=True, help="working directory; what is there stays")
        command.add_argument("--threads", type=int, default=2)
        command.add_argument("--eager", action="store_true", help="slower; bit-reproducible on one machine")
    suite = commands.add_parser("suite", help="the evaluation suite, from the held-out files")
    suite.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json of the pair")
    fresh = commands.add_parser("fresh", help="prompts whose continuation does not repeat itself")
    for command in (suite, fresh):
        command.add_argument("--out", type=Path, required=True, help="the .jsonl file to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
