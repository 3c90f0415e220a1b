"""Input encodings."""

from eugen_fields.encodings.frequency import FrequencyEncoding

__all__ = ["FrequencyEncoding"]
