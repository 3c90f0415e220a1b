"""What generated kernels call, in Triton's language."""
