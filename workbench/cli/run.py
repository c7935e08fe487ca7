"""Run one command line and turn whatever happens into an exit code and one sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from collections.abc import Sequence

import click

from tracing.errors import SpecwbError, sentence_of
from workbench.cli.app import build_app
from workbench.view.safe_text import safe_text

EXIT_ENVIRONMENT = 3
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130
THREADS_S = 2.0
"""Seconds that threads get to end, each, when a command has."""
_DEVICE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}
EXTRA_OF = {
    **dict.fromkeys(("torch", "transformers", "tokenizers", "safetensors", "xxhash", "jinja2"), "decode"),
    "textual": "tui",
    "plotly": "bench",
    "hypothesis": "testing",
    "pytest": "testing",
    "torch_npu": "npu",
}
"""Package -> the extra that brings it."""


def run_command(argv: Sequence[str]) -> int:
    """Run `specwb ARGV...`.

    Returns:
        0 all held, 1 findings, 2 usage or unreadable input, 3 environment, 4 inconclusive, 70 internal
        error, 130 interrupted.
    """
    try:
        result = build_app().main(args=list(argv), prog_name="specwb", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        return _say("interrupted; what was recorded so far is readable", EXIT_INTERRUPTED)
    except SpecwbError as error:
        return _say(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        return _missing_extra(error)
    except Exception as error:  # noqa: BLE001  a sentence and exit code 70 instead of a traceback
        return _internal(error)
    return result if isinstance(result, int) else 0


def end_process(exit_code: int) -> int:
    """Return the exit code, unless threads that code under test has left running would keep the process."""
    threads = [each for each in threading.enumerate() if each is not threading.main_thread()]
    lasting = [each for each in threads if not each.daemon]
    for each in lasting:
        each.join(THREADS_S)
    if not any(each.is_alive() for each in lasting):
        return exit_code
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(exit_code)  # they would be waited for


def _missing_extra(error: ModuleNotFoundError) -> int:
    package = (error.name or "").partition(".")[0]
    if package not in EXTRA_OF:
        return _internal(error)
    extra = EXTRA_OF[package]
    sentence = f"this command needs {package}, which is not installed; pip install 'specwb[{extra}]'"
    return _say(sentence, EXIT_ENVIRONMENT)


def _output_refused(error: Exception) -> int | None:
    """End where the output cannot be written, else None; files of ours have an error of their own."""
    if isinstance(error, BrokenPipeError):  # the reader of our output went away, e.g. `| head`
        _drop_output()
        return 0
    if isinstance(error, OSError) and error.filename is None and error.errno in _DEVICE_ERRORS:
        _drop_output()
        return _say(f"the output cannot be written: {error.strerror}", EXIT_ENVIRONMENT)
    return None


def _drop_output() -> None:
    """Point stdout to nowhere, or the interpreter would try once more to write what it still holds."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _internal(error: Exception) -> int:
    refused = _output_refused(error)
    if refused is not None:
        return refused
    if os.environ.get("SPECWB_TRACEBACK"):
        raise error
    return _say(
        f"internal error ({type(error).__name__}: {sentence_of(error)}); "
        "set SPECWB_TRACEBACK=1 and run again to see where, then report it",
        EXIT_INTERNAL,
    )


def _say(sentence: str, exit_code: int) -> int:
    with contextlib.suppress(
        OSError, ValueError
    ):  # a closed stderr, a full device behind stderr too: the exit code still tells
        print(f"specwb: {safe_text(sentence)}", file=sys.stderr, flush=True)
    return exit_code
