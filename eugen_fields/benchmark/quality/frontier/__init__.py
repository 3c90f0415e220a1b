"""Networks of many kinds and sizes trained alike on several scenes: which renders best at equal cost."""

from eugen_fields.benchmark.quality.frontier.frontier import Frontier

__all__ = ["Frontier"]
