"""Is a verifier lossless? Exact laws by forking, sequential tests on samples, the known mistakes."""
