"""Pure functions on arrays, in two sets with the same file names, function names and signatures.

``reference`` is plain NumPy, slow and obvious: the oracle, and the place to read the mathematics.
``compiled`` is Numba: the same functions, taken to the limit of the machine.

Both sets know arrays and nothing else, and check nothing: ``fastattn.layers`` checks at the door.

Words
-----
N batch; T, T1, T2 time (any, source, target); D embedding width; H hidden width; V vocabulary.
``lengths`` (N,) int64 or None holds the number of real steps of each sample: a position ``t >= lengths[n]`` is padding.
What stands at padding is never read, not even multiplied by zero: outputs and gradients there are zero. None: no padding.
A ``cache`` is what a ``*_forward`` keeps for its ``*_backward``: opaque to the caller, and each set has its own.
``*_backward`` overwrites the weight gradients that it is given (dW, dWx, dWh, db) and returns the others.
All floating-point arrays of a call share one dtype, float32 or float64, and are C-contiguous.
"""
