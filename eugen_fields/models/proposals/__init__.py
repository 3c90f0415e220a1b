"""Models that find surfaces by rounds of proposals: options, sizes of networks, rendering and losses."""
