"""Recorder inside SGLang, loaded by the engine itself through an entry point: trees and chains.

`SPECWB_TRACE=DIR python -m sglang.launch_server ...` records; without the variable nothing is imported or
hooked. It was written against the source of the release in `signatures.py` and is tested on fakes with its
signatures; SGLang itself, which needs a GPU, has not been run with it.
"""
