"""The challenges by number; a table of its own, so that reading it imports nothing else."""

NAMES = {
    "01": "noise_to_order",
    "02": "denoise_on_a_budget",
    "03": "teach_it_to_read",
    "04": "squeeze",
    "05": "follow_the_prompt",
    "06": "sculptors_exam",
}
"""`challenges/NN_name.ipynb`, declared in `challenge_NN.py` here."""
