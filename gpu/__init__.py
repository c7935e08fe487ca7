"""What runs on a CUDA device and on no other: `make test-cuda`. It is not in the wheel."""
