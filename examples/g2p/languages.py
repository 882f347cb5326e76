"""The table of ten languages: one setting for all, single models and ensembles, beside the baseline of the shared task.

    python examples/g2p/languages.py FOLDER --models 5 --out language-models

FOLDER has LANGUAGE_train.tsv, LANGUAGE_dev.tsv and LANGUAGE_test.tsv: the medium-resource data of the SIGMORPHON 2021 shared
task on grapheme-to-phoneme conversion, from https://github.com/sigmorphon/2021-task1. Trains models of seeds 0, 1, 2, ... of
each language; what was trained before is taken from there.
"""

import argparse
import sys
from pathlib import Path
from statistics import mean

from measuring import BEAM, Trained, machine, percent, table, trained

from fastattn.training import Settings, Translator, ensemble

# Test WER in percent of the task's baseline, an ensemble of ten neural transducers (Ashby et al. 2021, table 3).
BASELINE = {
    "arm_e": 7.0,
    "bul": 18.3,
    "dut": 14.7,
    "fre": 8.5,
    "geo": 0.0,
    "hbs_latn": 32.1,
    "hun": 1.8,
    "jpn_hira": 5.2,
    "kor": 16.3,
    "vie_hanoi": 2.5,
}
HEADER = ("language", "minutes", "development, one", "together", "test, one", "together", "baseline, ten together")


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--config", default=Path(__file__).with_name("languages.toml"), help="default: the one of this example")
    parser.add_argument("--out", type=Path, default=Path("language-models"), help="where the models go (default: %(default)s)")
    parser.add_argument("--models", type=int, default=1, help="how many of a language, each of another seed (default: 1)")
    parser.add_argument("--languages", default=",".join(BASELINE), help="with commas between (default: all ten)")
    parser.add_argument("--development", action="store_true", help="leave the test words alone, to choose a setting")
    arguments = parser.parse_args()
    parts = ["dev"] if arguments.development else ["dev", "test"]
    print(f"{machine()}; beam {BEAM}; words with an error, one: the mean of {arguments.models} models", flush=True)
    rows: list[list[float]] = []
    names = arguments.languages.split(",")
    for name in names:
        files = {part: arguments.folder / f"{name}_{part}.tsv" for part in ("train", *parts)}
        for file in files.values():
            if not file.is_file():
                sys.exit(f"there is no {file}")
        models: list[Trained] = []
        for seed in range(arguments.models):
            choices = {"pairs": files["train"], "valid": files["dev"], "seed": seed}
            models.append(trained(Settings.read(arguments.config, **choices), arguments.out / name / f"seed{seed}"))
        figures = [sum(model.minutes for model in models)]
        translators = [model.translator for model in models]
        together = translators[0] if len(models) == 1 else ensemble(translators)
        for part in parts:
            figures.append(mean(wrong(translator, files[part]) for translator in translators))
            figures.append(wrong(together, files[part]))
        rows.append(figures)
        print(table(HEADER, [shown(name, figures, BASELINE.get(name))]).splitlines()[-1], flush=True)
    print()
    lines = [shown(name, figures, BASELINE.get(name)) for name, figures in zip(names, rows, strict=True)]
    if all(name in BASELINE for name in names):
        means = [sum(row[0] for row in rows), *(mean(column) for column in list(zip(*rows))[1:])]
        lines.append(shown("minutes in all, mean of the rest", means, mean(BASELINE[name] for name in names)))
    print(table(HEADER[: 2 + 2 * len(parts)] + HEADER[-1:], lines))


def wrong(translator: Translator, path: Path) -> float:
    """The part of the words of a file that a model, or several together, have wrong, from 0 to 1."""
    return 1 - translator.score(path, beam=BEAM).score.exact_match


def shown(name: str, figures: list[float], baseline: float | None) -> tuple[str, ...]:
    """A line of the table."""
    return (name, f"{figures[0]:.1f}", *map(percent, figures[1:]), "" if baseline is None else f"{baseline:.2f} %")


if __name__ == "__main__":
    main()
