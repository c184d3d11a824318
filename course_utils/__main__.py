"""`python -m course_utils` is `course`."""

import sys

from course_utils.cli import main

sys.exit(main())
