"""Training and decoding of real pairs in fastattn and in PyTorch, side by side: ``python -m benchmarks.peers.corpus``.

The model of a config file as ``fastattn train`` makes it, from the same weights, on the same batches of pairs of like lengths;
and a trained model's greedy and beam search of the same sources. The PyTorch side is what somebody who knows it would write to
be fast for sequences of unequal lengths: it packs them, so that neither the LSTMs nor the scores compute for padding, and takes
all hypotheses of a batch through a step at once.

A peer is not timed unless its first losses and gradient norms, or its first answers and their scores, are those of the
reference kernels in float64.
"""

PEERS = {
    "fastattn": "benchmarks.peers.corpus.in_fastattn:Compiled",
    "torch": "benchmarks.peers.corpus.in_torch:Eager",
    "torch-padded": "benchmarks.peers.corpus.in_torch:Padded",
    "torch-compile": "benchmarks.peers.corpus.in_torch:Compile",
}
ORACLE = "benchmarks.peers.corpus.in_fastattn:Oracle"
KINDS = ("train", "greedy", "beam")
DEFAULT_PEERS = {"train": tuple(PEERS), "greedy": ("fastattn", "torch"), "beam": ("fastattn", "torch")}
