"""nerfstudio models: field, sampler, losses and outputs."""
