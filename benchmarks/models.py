"""The models that all speed measurements use, by name: the plain one, and what people train."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Model:
    """The options of AttentionSeq2seq on which the matrix products depend, each the plain model's unless it is given.

    All states are as wide as the shape says, those of each direction too; so is h~ where there is one (``attentional``).
    """

    encoder_layers: int = 1
    decoder_layers: int = 1
    bidirectional: bool = False
    project_encoder: bool = False
    residual: bool = False
    attention: str | None = "dot"
    attentional: bool = False
    input_feeding: bool = False
    bridge: str = "last"
    tie_embeddings: bool = False

    def options(self, H: int) -> dict[str, Any]:
        """What AttentionSeq2seq is to be given besides the sizes; nothing for the plain model, which every commit has."""
        chosen = ((field, getattr(self, field.name)) for field in fields(self))
        given = {field.name: choice for field, choice in chosen if choice != field.default}
        if given.pop("attentional", False):
            given["attentional_size"] = H
        return given


PLAIN = Model()
MODELS = {
    "plain": PLAIN,
    "bi": Model(bidirectional=True, attention="general", bridge="affine"),
    "deep": Model(encoder_layers=2, decoder_layers=2, bidirectional=True, residual=True, attention="general", bridge="affine"),
    "feeding": Model(bidirectional=True, attention="additive", attentional=True, input_feeding=True, bridge="affine"),
}
