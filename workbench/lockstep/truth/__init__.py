"""The reference fed with the tested path's values: truth, samples, near ties, missing stages."""
