"""`python -m course_utils.evaluation [FOLDER]` prints the hash that pins a judge."""

from __future__ import annotations

import argparse
from pathlib import Path

from course_utils.evaluation.judge import FOLDER, folder_sha256, write_captions
from course_utils.models.weight_files import WeightsError

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print the hash that pins a judge.")
    parser.add_argument("folder", nargs="?", default=FOLDER, type=Path)
    parser.add_argument(
        "--captions", action="store_true", help="also compute its text features and keep them"
    )
    args = parser.parse_args()
    try:
        print(folder_sha256(args.folder))
        if args.captions:
            print(write_captions(args.folder))
    except WeightsError as error:
        parser.exit(1, f"{error}\n")
