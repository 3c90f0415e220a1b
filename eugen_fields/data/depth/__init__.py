"""Posed depth streams: layouts on disk, readers, checks and the data parser."""
