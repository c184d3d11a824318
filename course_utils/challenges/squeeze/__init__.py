"""Challenge 04, Squeeze: as many bits of a picture's latents as fit, and no more."""

NUMBER, TITLE = "04", "Squeeze"
