"""Neural fields for 3D reconstruction built from EUGen and PRP layers, as nerfstudio methods."""

__version__ = "0.1.0"
