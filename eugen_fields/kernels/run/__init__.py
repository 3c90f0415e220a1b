"""Sources compiled, timed, launched and recorded as CUDA graphs."""
