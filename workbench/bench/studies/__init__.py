"""The paper's studies, one module each under its command-line name; each re-measures its own baseline."""
