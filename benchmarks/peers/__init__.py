"""The same training step in fastattn and in other libraries, side by side: ``python -m benchmarks.peers``.

Forward, backward, clipping to a global norm and Adam, in float32: the same model from the same weights, on the same
batch, with the same numbers everywhere. Each peer is written the way somebody who knows its library would write it to
be fast, and lives in a process of its own (`worker`), which the parent (`measure`) asks for some steps at a time. A
peer whose losses and gradient norms are not those of the reference kernels in float64 is not timed at all.

``--peers`` takes the names below, or ``module:Class`` for a class of your own that derives from `peer.Peer`.
"""

PEERS = {
    "fastattn": "benchmarks.peers.in_fastattn:Compiled",
    "numpy": "benchmarks.peers.in_fastattn:Reference",
    "torch": "benchmarks.peers.in_torch:Eager",
    "torch-compile": "benchmarks.peers.in_torch:Compile",
    "torch-bfloat16": "benchmarks.peers.in_torch:Bfloat16",
    "jax": "benchmarks.peers.in_jax:Jit",
}
BASELINE = "fastattn"  # what the others are compared with
DEFAULT_PEERS = {
    "train": ("fastattn", "numpy", "torch", "torch-compile", "jax"),
    "generate": ("fastattn", "numpy", "torch"),
}
ORACLE = "benchmarks.peers.in_fastattn:Oracle"
FMA_PEAK = "benchmarks.peers.in_fma:Peak"
