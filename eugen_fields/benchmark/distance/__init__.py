"""Signed distance against the truth and against TSDF fusion."""
