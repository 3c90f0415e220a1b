"""The browser viewer of runs (`eugen-view`). Reaches trained fields through eugen_fields.runs alone."""
