"""The speed of fastattn from commit to commit, as pages: ``python -m benchmarks.dashboard``."""
