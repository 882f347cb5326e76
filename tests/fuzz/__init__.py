"""Fuzzing of all that reads files of others: ``python -m tests.fuzz LOADER --minutes 10``.

`targets.py` says what each loader is given and what may come of it; `__main__.py` lets atheris look for what else may, guided
by what of the code an input reaches. What it found lies in `found/`, a folder a loader, and `test_found.py` replays it.
"""
