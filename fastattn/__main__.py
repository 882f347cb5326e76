"""``python -m fastattn``: the command ``fastattn``."""

import sys

from fastattn.cli.main import run

sys.exit(run())
