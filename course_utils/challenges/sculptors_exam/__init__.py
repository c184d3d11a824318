"""Challenge 06, Sculptor's exam: from words to a picture, with every step between the networks."""

NUMBER, TITLE = "06", "Sculptor's exam"
