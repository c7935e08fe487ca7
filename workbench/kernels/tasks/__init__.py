"""Task folders of NPUKernelBench, as they are: module.py, prepare_inputs.py, test_cases.csv."""
