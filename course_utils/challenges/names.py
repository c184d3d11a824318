"""The challenges by number; a table of its own, so that reading it imports nothing else."""

TITLES = {
    "01": "Noise to order",
    "02": "Denoise on a budget",
    "03": "Teach it to read",
    "04": "Squeeze",
    "05": "Follow the prompt",
    "06": "Sculptor's exam",
}
"""What they are called."""
NAMES = {
    number: title.lower().replace("'", "").replace(" ", "_") for number, title in TITLES.items()
}
"""`challenges/NN_name.ipynb`, declared in `challenge_NN.py` here."""
