"""Challenge 02, Denoise on a budget: the best picture in eight calls of the network."""

NUMBER, TITLE = "02", "Denoise on a budget"
