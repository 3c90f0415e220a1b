"""Cameras as files give them: lens and intrinsics, poses, and where a data parser places them."""
