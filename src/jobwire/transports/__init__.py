"""The network, behind one small seam: see `base`."""
