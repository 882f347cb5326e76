"""The loader of question_answer lines."""

import numpy as np
import pytest

from fastattn.compat.dlfs2 import sequence
from fastattn.data import PairsError

LINES = [f"{a:<3}+{b:<2}_{a + b:<4}" for a, b in zip(range(0, 300, 13), range(50), strict=False)]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "addition.txt"
    path.write_text("\n".join(LINES) + "\n")
    return path


def decoded(rows):
    _, id_to_char = sequence.get_vocab()
    return ["".join(id_to_char[int(number)] for number in row) for row in rows]


def test_questions_and_answers_come_in_the_order_of_the_seed(file):
    for arguments, seed in (((), 1984), ((5,), 5)):
        (x_train, t_train), (x_test, t_test) = sequence.load_data(file, *arguments)
        assert (x_train.shape, t_train.shape, x_test.shape, t_test.shape) == ((22, 6), (22, 5), (2, 6), (2, 5))
        order = np.arange(len(LINES))
        np.random.seed(seed)  # noqa: NPY002 - so the book's code shuffles
        np.random.shuffle(order)  # noqa: NPY002
        lines = [q + a for q, a in zip(decoded([*x_train, *x_test]), decoded([*t_train, *t_test]), strict=True)]
        assert lines == [LINES[i] for i in order]


def test_ids_are_numbered_as_they_first_appear(file, tmp_path):
    sequence.load_data(file)
    char_to_id, id_to_char = sequence.get_vocab()
    assert list(char_to_id) == list(dict.fromkeys("".join(LINES)))
    assert list(char_to_id.values()) == list(range(len(char_to_id)))
    assert id_to_char == {number: character for character, number in char_to_id.items()}
    (tmp_path / "other.txt").write_text("yx_z")  # the last line may do without an end; nothing is left of the first file
    (x, t), (x_test, _) = sequence.load_data(tmp_path / "other.txt")
    assert sequence.get_vocab()[0] == {"y": 0, "x": 1, "_": 2, "z": 3}
    assert (x.tolist(), t.tolist(), x_test.shape) == ([[0, 1]], [[2, 3]], (0, 2))
    assert x.dtype == t.dtype == np.int64


def test_the_callers_random_state_is_left_alone(file):
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    sequence.load_data(file)
    assert np.random.rand() == expected  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    first, _ = sequence.load_data(file, seed=None)
    np.random.seed(3)  # noqa: NPY002
    np.testing.assert_array_equal(sequence.load_data(file, seed=None)[0][0], first[0])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1+2 23", "is '1+2 23'; expected question_answer"),
        ("", "is ''; expected question_answer"),
        ("_23", "is '_23'; expected question_answer"),
        ("1+2_", "is '1+2_'; expected question_answer"),
        ("1+23_3", "the question '1+23' has 4 characters; expected 3, as in line 1"),
        ("1+2_33", "the answer '_33' has 3 characters; expected 2, as in line 1"),
        (b"\xff_3", "is not UTF-8: byte 1 of the line is 0xff"),
    ],
)
def test_a_line_that_cannot_be_is_named(tmp_path, line, message):
    path = tmp_path / "bad.txt"
    path.write_bytes(b"1+1_2\n1+2_3\n" + (line if isinstance(line, bytes) else line.encode()) + b"\n1+3_4\n")
    (tmp_path / "good.txt").write_text("ab_c\n")
    sequence.load_data(tmp_path / "good.txt")
    with pytest.raises(PairsError) as caught:
        sequence.load_data(path)
    assert str(caught.value) == f"{path}:3: {message}"
    assert sequence.get_vocab()[0] == {"a": 0, "b": 1, "_": 2, "c": 3}


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.txt: cannot be read: No such file"):
        sequence.load_data(tmp_path / "absent.txt")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(ValueError, match=r"empty\.txt: is empty"):
        sequence.load_data(tmp_path / "empty.txt")
