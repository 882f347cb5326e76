"""The asv suites: the speed of every kernel, of the layers' work together, of starting, and of what it comes to.

asv imports this package alone, from the installed fastattn's point of view: the modules beside it are made importable here.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
