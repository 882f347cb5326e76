"""Whether a model's answer is right."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

MARKS = {True: ("\033[92m", "O" if os.name == "nt" else "☑"), False: ("\033[91m", "X" if os.name == "nt" else "☒")}
PLAIN = "\033[0m"  # ends a colour


def eval_seq2seq(
    model: Any,
    question: ArrayLike,
    correct: ArrayLike,
    id_to_char: Mapping[int, str],
    verbos: bool = False,
    is_reverse: bool = False,
) -> int:
    """1 if the model's answer to ``question`` (1, T1) is right, else 0.

    correct: (1, T2) or (T2,), the start symbol and the right answer. id_to_char: as `sequence.get_vocab` gives it.
    verbos: print the question, the right answer, and the model's, in green or in red. is_reverse: the question stands
    in ``question`` from its end to its beginning, and is printed the right way round.
    """
    start_id, *right = np.asarray(correct).reshape(-1).tolist()
    guess = model.generate(question, start_id, len(right))
    is_right = list(guess) == right
    if verbos:
        asked, answer, guessed = (
            "".join(id_to_char[int(number)] for number in ids) for ids in (np.asarray(question).reshape(-1), right, guess)
        )
        colour, mark = MARKS[is_right]
        print(f"Q {asked[::-1] if is_reverse else asked}\nT {answer}\n{colour}{mark}{PLAIN} {guessed}\n---")
    return int(is_right)
