"""The paper's studies, one module each under its name on the command line; every one re-measures its baseline."""
