"""Stub CANN libraries, generated on the user's machine from the installed torch_npu wheel."""
