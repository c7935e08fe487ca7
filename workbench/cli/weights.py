"""`specwb weights`: pack, unpack, verify and measure lossless weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracing.errors import UsageError
from workbench.cli.common_options import option_set
from workbench.cli.decode_options import format_option
from workbench.cli.output import say, show

if TYPE_CHECKING:
    from workbench.weights.floats import FloatFormat
    from workbench.weights.parameters import Parameters

DTYPES = ("bfloat16", "float16", "float32")
_raw_options = option_set(
    click.option("--dtype", type=click.Choice(DTYPES), help="Of a file of bare numbers."),
    click.option("--parameters", metavar="B,N,M", help="Of a published stream, for example 122,6,3."),
)


@click.group(name="weights")
def command() -> None:
    """Pack weights without loss, and examine packed ones."""


@command.command()
@click.argument("source")
@click.argument("target")
@_raw_options
def pack(source: str, target: str, dtype: str | None, parameters: str | None) -> int:
    """Pack a model directory or a safetensors file; with --dtype, bare numbers into one stream.

    With --parameters the stream has ENEC's published layout, which keeps neither parameters nor checksums.
    """
    from workbench.checkpoints.packed_directory import pack_directory, pack_numbers
    from workbench.checkpoints.packed_file import write_packed

    _require_new(target)
    if dtype is not None:
        pack_numbers(Path(source), Path(target), _layout(dtype), _parameters(parameters))
    elif parameters is not None:
        raise UsageError("--parameters packs bare numbers into a published stream: give their --dtype too")
    elif Path(source).is_dir():
        pack_directory(Path(source), Path(target))
    else:
        write_packed(Path(source), Path(target))
    say(f"{source} packed as {target}", err=True)
    return 0


@command.command()
@click.argument("source")
@click.argument("target")
@_raw_options
def unpack(source: str, target: str, dtype: str | None, parameters: str | None) -> int:
    """Unpack what pack made, bit for bit; with --parameters, a published stream.

    Exit codes: 0 unpacked, 2 damaged or no such file.
    """
    from workbench.checkpoints.packed_directory import unpack_any

    if dtype is not None:
        raise UsageError("a packed file states its dtype; leave --dtype out")
    _require_new(target)
    unpack_any(Path(source), Path(target), _parameters(parameters))
    say(f"{source} unpacked as {target}", err=True)
    return 0


@command.command()
@click.argument("source")
@click.option("--original", metavar="FILE", help="What was packed; every bit is compared.")
@click.option("--parameters", metavar="B,N,M", help="Of a published stream.")
@format_option
def verify(source: str, original: str | None, parameters: str | None, output_format: str) -> int:
    """Prove that packed weights are whole, or say what a published stream lost.

    Exit codes: 0 whole, 1 something is lost or damaged, 2 no packed weights, 4 it cannot be decided.
    """
    from workbench.checkpoints.packed_verify import verify_any

    result = verify_any(Path(source), None if original is None else Path(original), _parameters(parameters))
    show(output_format, result.as_json, result.lines, indent=1)
    return result.exit_code


@command.command()
@click.argument("source")
@click.option("--dtype", type=click.Choice(DTYPES), help="Of a file of bare numbers.")
@click.option("--time", "is_timed", is_flag=True, help="Time decoding beside zstd and lz4.")
@format_option
def stat(source: str, dtype: str | None, *, is_timed: bool, output_format: str) -> int:
    """Print what packing gains, tensor by tensor, beside what it cannot get below."""
    from workbench.checkpoints.packed_stat import stat_any

    result = stat_any(Path(source), None if dtype is None else _layout(dtype), is_timed=is_timed)
    show(output_format, result.as_json, result.lines, indent=1)
    return 0


@command.command()
@click.argument("target")
@click.option("--model", metavar="DIR", help="A dense teacher; the shipped one where none is given.")
@click.option("--experts", default=16, show_default=True, type=click.IntRange(1, 4096), help="Of a layer.")
@click.option(
    "--groups", default=4, show_default=True, type=click.IntRange(1), help="One expert of each works."
)
@click.option("--width", default=32, show_default=True, type=click.IntRange(1, 65536), help="Of an expert.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of what is random.")
def experts(target: str, *, model: str | None, experts: int, groups: int, width: int, seed: int) -> int:
    """Write a teacher with experts in groups (PanguProMoEForCausalLM) to TARGET, out of a dense one.

    Its MLPs become the shared experts; routers, scales and the other experts are random. A drafter of the
    dense teacher goes on working: it tries a path with such a teacher where there is no trained one.
    """
    from tracing.models import Experts
    from workbench.checkpoints.shipped import shipped_pair_dirs
    from workbench.checkpoints.upcycled import write_with_experts

    if experts % groups:
        raise UsageError(f"--experts should be a multiple of --groups, got {experts} and {groups}")
    _require_new(target)
    source = shipped_pair_dirs()[0] if model is None else Path(model)
    write_with_experts(source, Path(target), Experts(experts, groups, width, 1), seed)
    say(f"{source} with {experts} experts in {groups} groups written as {target}", err=True)
    return 0


def _require_new(target: str) -> None:
    if Path(target).exists():
        raise UsageError(f"{target} is there already; give a new name")


def _layout(dtype: str) -> FloatFormat:
    from workbench.weights.floats import FORMATS

    return FORMATS[dtype]


def _parameters(text: str | None) -> Parameters | None:
    from workbench.weights.parameters import parse_parameters

    return None if text is None else parse_parameters(text)
