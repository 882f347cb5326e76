"""The kernels in plain NumPy: the oracle for the compiled set, and the mathematics to read."""

from ..contracts import guard
from .activation import add, tanh_backward, tanh_forward
from .affine import affine_backward, affine_forward
from .attention import (
    attention_backward,
    attention_forward,
    attention_score_backward,
    attention_score_forward,
    weighted_sum_backward,
    weighted_sum_forward,
)
from .beam import beam_search
from .choosing import best_successors, draw_tokens, mean_log_probability, target_log_probability
from .cross_entropy import (
    cross_entropy_backward,
    cross_entropy_forward,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
    target_probability_backward,
    target_probability_forward,
)
from .dropout import dropout
from .embedding import embedding_backward, embedding_forward
from .input_feeding import input_feeding_backward, input_feeding_forward
from .lstm import embedding_lstm_backward, embedding_lstm_forward, lstm_backward, lstm_forward
from .norm import scale, squared_norm
from .optimizer import adagrad_update, adam_update, momentum_update, nesterov_update, rmsprop_update, sgd_update
from .search import greedy_search
from .seq2seq import seq2seq_as_one, seq2seq_backward, seq2seq_forward
from .softmax import softmax_backward, softmax_forward

__all__ = [
    "adagrad_update",
    "adam_update",
    "add",
    "affine_backward",
    "affine_forward",
    "attention_backward",
    "attention_forward",
    "attention_score_backward",
    "attention_score_forward",
    "beam_search",
    "best_successors",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "draw_tokens",
    "dropout",
    "embedding_backward",
    "embedding_forward",
    "embedding_lstm_backward",
    "embedding_lstm_forward",
    "greedy_search",
    "input_feeding_backward",
    "input_feeding_forward",
    "lstm_backward",
    "lstm_forward",
    "mean_log_probability",
    "momentum_update",
    "nesterov_update",
    "rmsprop_update",
    "scale",
    "seq2seq_as_one",
    "seq2seq_backward",
    "seq2seq_forward",
    "sgd_update",
    "softmax_backward",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
    "softmax_forward",
    "squared_norm",
    "tanh_backward",
    "tanh_forward",
    "target_log_probability",
    "target_probability_backward",
    "target_probability_forward",
    "weighted_sum_backward",
    "weighted_sum_forward",
]

guard(globals(), __all__, as_lines=False)
