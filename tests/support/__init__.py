"""Helpers that tests share; each module says what it holds."""
