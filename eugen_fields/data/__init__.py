"""Input: checks that run before training, and posed depth streams."""
