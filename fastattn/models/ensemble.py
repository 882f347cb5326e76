"""Several models as one."""

from __future__ import annotations

from collections.abc import Sequence

from .searching import Searching
from .seq2seq import AttentionSeq2seq


class Ensemble(Searching):
    """Models that search together: at each step, a token's probability is the arithmetic mean of what they give it.

    The models may differ in all but their vocabularies. The weights of attention are the mean of those that have attention.
    TypeError or ValueError for what cannot be an ensemble.
    """

    def __init__(self, models: Sequence[AttentionSeq2seq]) -> None:
        self.models = list(models)
        if not self.models:
            raise ValueError("models is empty; expected at least one AttentionSeq2seq")
        for i, model in enumerate(self.models):
            if not isinstance(model, AttentionSeq2seq):
                raise TypeError(f"models[{i}] is {type(model).__name__}; expected an AttentionSeq2seq")
        first = self.models[0]
        self.source_vocabulary, self.target_vocabulary = first.source_vocabulary, first.target_vocabulary
        for i, model in enumerate(self.models):
            given = model.source_vocabulary, model.target_vocabulary
            if given != (self.source_vocabulary, self.target_vocabulary):
                expected = f"{self.source_vocabulary} and {self.target_vocabulary}, as models[0]"
                raise ValueError(f"models[{i}] has vocabularies of {given[0]} and {given[1]} tokens; expected {expected}")

    def _members(self) -> Sequence[AttentionSeq2seq]:
        return self.models

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {', '.join(map(repr, self.models))}>"

    def _repr_html_(self) -> str:
        return f"<p>{type(self).__name__} of {len(self.models)} models</p>{''.join(each._repr_html_() for each in self.models)}"
