"""The tabs of the page's panel."""
