"""Challenge 01, Noise to order: schedules that meet a given curve of signal-to-noise ratios."""

NUMBER, TITLE = "01", "Noise to order"
