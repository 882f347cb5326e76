"""Files of `question_answer` lines, all questions of one length and all answers too: "16+75  _91  ".

The answer begins with "_", which is the start symbol.
"""

from __future__ import annotations

import os

import numpy as np

from fastattn.data import PairsError, read_lines
from fastattn.layers.checks import Array

START = "_"

# Of the file that was loaded last.
_char_to_id: dict[str, int] = {}
_id_to_char: dict[int, str] = {}


def load_data(file_name: str | os.PathLike[str], seed: int | None = 1984) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """The ids of a file, shuffled by ``seed``: (x_train, t_train), (x_test, t_test), the last tenth for the test.

    x (N, T1) are the questions, t (N, T2) the answers with their start symbol. The characters are numbered in the order in
    which they first stand in the file. seed None: shuffled by NumPy's global random state, which is left alone otherwise.

    PairsError, a ValueError that names the line, for a line without "_" or of another length than the first one's parts,
    and for a file that cannot be read, is empty or is not UTF-8.
    """
    questions: list[list[int]] = []
    answers: list[list[int]] = []
    ids: dict[str, int] = {}
    for number, line in read_lines(file_name):
        question, mark, answer = line.partition(START)
        if not question or not answer:
            raise PairsError(file_name, number, f"is {line!r}; expected question{START}answer")
        for name, text, rows in (("question", question, questions), ("answer", mark + answer, answers)):
            rows.append([ids.setdefault(character, len(ids)) for character in text])
            if len(rows[-1]) != len(rows[0]):
                raise PairsError(
                    file_name, number, f"the {name} {text!r} has {len(text)} characters; expected {len(rows[0])}, as in line 1"
                )
    order = np.arange(len(questions))
    (np.random if seed is None else np.random.RandomState(seed)).shuffle(order)
    x, t = np.array(questions)[order], np.array(answers)[order]
    global _char_to_id, _id_to_char
    _char_to_id, _id_to_char = ids, {number: character for character, number in ids.items()}
    split_at = len(x) - len(x) // 10
    return (x[:split_at], t[:split_at]), (x[split_at:], t[split_at:])


def get_vocab() -> tuple[dict[str, int], dict[int, str]]:
    """(char_to_id, id_to_char) of the file that was loaded last; both empty before there was one."""
    return _char_to_id, _id_to_char
