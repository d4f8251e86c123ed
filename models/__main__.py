"""`python -m models`: check every model; see `check.py` for the flags."""

import sys

from models.check import main

sys.exit(main())
