"""Everything that the notebooks of Sculpting Noise import."""
