"""Frames and steps, timed side by side."""
