"""iSDF: frames come in order, keyframes are kept, a map is trained on them."""
