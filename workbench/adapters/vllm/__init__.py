"""Recorder inside vLLM and vLLM-Ascend, loaded by the engine itself through an entry point.

`SPECWB_TRACE=DIR vllm serve ...` records; without the variable nothing is imported and nothing is patched.
"""
