"""What users would pick instead: methods of nerfstudio's own beside ours, for equal seconds of a processor."""

from eugen_fields.benchmark.quality.rivals.race import Rivals

__all__ = ["Rivals"]
