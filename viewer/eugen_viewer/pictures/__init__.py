"""Everything the page renders: live pictures, photos, slices and videos."""
