"""Input: checks that run before training."""
