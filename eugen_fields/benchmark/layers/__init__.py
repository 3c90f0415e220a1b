"""Layer kinds timed as networks of one shape."""
