"""Networks read into stages: what kernels are written from."""
