"""The paper's studies, one module each; every one re-measures its own baseline, interleaved."""
