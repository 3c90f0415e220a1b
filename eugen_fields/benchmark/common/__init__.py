"""What benchmarks share: contestants, devices, timing, scoring, result files."""
