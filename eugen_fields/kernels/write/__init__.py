"""Stages written as Triton source."""
