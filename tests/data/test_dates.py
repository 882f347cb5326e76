"""The corpus of dates.

`parse` below is the proof that every source says one date only: it reads a source by the conventions that stand at the
head of `fastattn.data.dates`, knows nothing of how sources are made, and shares no table with that module.
"""

import calendar
import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import date

import pytest

from fastattn.data import date_pairs, split_dates, split_pairs
from fastattn.data.dates import FORMATS, LARGEST_CORPUS, TWO_DIGIT_YEARS, _fields
from fastattn.data.seeded import Seeded

# fmt: off
NUMBER_WORDS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17,
    "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70,
    "eighty": 80, "ninety": 90,
}
ORDINAL_WORDS = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10, "eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16,
    "seventeenth": 17, "eighteenth": 18, "nineteenth": 19, "twentieth": 20, "thirtieth": 30,
}
# fmt: on
MONTHS = [name.lower() for name in calendar.month_name]
WEEKDAYS = [name.lower() for name in calendar.day_name]


def full_year(digits):
    if len(digits) == 4:
        return int(digits)
    return 1900 + int(digits) if int(digits) >= 69 else 2000 + int(digits)


def by_prefix(word, names):
    """The index of the name that a word of at least three letters begins."""
    found = [number for number, name in enumerate(names) if name and name.startswith(word)]
    return found[0] if len(word) >= 3 and len(found) == 1 else None


def parse_number_words(words):
    """["nineteen", "oh", "four"], ["two", "thousand", "and", "ten"], ["twenty", "fourteen"], ... -> a year"""
    if words[:2] == ["two", "thousand"]:
        return 2000 + sum(NUMBER_WORDS[word] for word in words[2:] if word != "and")
    century, rest = NUMBER_WORDS[words[0]], [word for word in words[1:] if word not in ("oh", "hundred")]
    return 100 * century + sum(NUMBER_WORDS[word] for word in rest)


def parse(source):
    """(date, the weekday that the source names, or None)"""
    text = source.lower()
    if match := re.fullmatch(r"(\d{4})([-/.]?)(\d\d)\2(\d\d)", text):
        return date(int(match[1]), int(match[3]), int(match[4])), None
    if match := re.fullmatch(r"(\d\d?)/(\d\d?)/(\d\d|\d{4})", text):
        return date(full_year(match[3]), int(match[1]), int(match[2])), None
    if match := re.fullmatch(r"(\d\d?)\.(\d\d?)\.(\d\d|\d{4})", text):
        return date(full_year(match[3]), int(match[2]), int(match[1])), None
    year = month = day = weekday = None
    words = []
    for token in re.findall(r"[a-z]+|'?\d+(?:st|nd|rd|th)?", text):
        if match := re.fullmatch(r"'?(\d+)(st|nd|rd|th)?", token):
            # Only a year has an apostrophe or four digits; of two numbers without, the day comes first.
            if token[0] == "'" or len(match[1]) == 4 or day is not None:
                assert year is None
                year = full_year(match[1])
            else:
                day = int(match[1])
        elif by_prefix(token, MONTHS) is not None:
            assert month is None
            month = by_prefix(token, MONTHS)
        elif by_prefix(token, WEEKDAYS) is not None:
            assert weekday is None
            weekday = by_prefix(token, WEEKDAYS)
        elif token in ORDINAL_WORDS:
            assert day is None
            day = ORDINAL_WORDS[token] + sum(NUMBER_WORDS[word] for word in words)
            words = []
        elif token in ("the", "of", "day"):
            pass
        else:
            words.append(token)
    if words:
        assert year is None
        year = parse_number_words(words)
    return date(year, month, day), weekday


def written(template, day, case=str, seed=0):
    return case(template.format_map(_fields(day, Seeded(seed))))


@pytest.fixture(scope="module")
def corpus():
    return date_pairs()


def test_the_corpus_is_pinned(corpus):
    """The same pairs for ever: figures in the documentation, and models, refer to them."""
    content = "".join(f"{source}\t{target}\n" for source, target in corpus)
    assert hashlib.sha256(content.encode()).hexdigest() == ("3ccefa741604094c743b485ba99fadef58c7b59b5ab4fb087436f7faee29d64e")


def test_every_source_says_its_target_and_the_true_weekday(corpus):
    with_weekday = 0
    for source, target in corpus:
        day, weekday = parse(source)
        assert day.isoformat() == target, source
        if weekday is not None:
            assert weekday == day.weekday(), source
            with_weekday += 1
    assert with_weekday > 5000


def test_every_format_says_one_date_throughout_its_years():
    """Every format on every 61st day, which visits all months, days and weekdays: no source says two dates."""
    target_of = {}
    for template, years in FORMATS.items():
        last = date(years.stop - 1, 12, 31).toordinal()
        for ordinal in [*range(date(years.start, 1, 1).toordinal(), last, 61), last]:
            day = date.fromordinal(ordinal)
            source = written(template, day, str.lower, seed=ordinal)
            assert parse(source)[0] == day, source
            assert target_of.setdefault(source, day) == day, source
    assert len(target_of) > 50_000
    assert len({(day.month, day.day) for day in target_of.values()}) > 350


def test_targets_are_real_days_of_1900_to_2099(corpus):
    days = [date.fromisoformat(target) for _, target in corpus]
    assert (min(days).year, max(days).year) == (1900, 2099)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", target) for _, target in corpus)
    # Dates are drawn evenly: all days of the month, all months, and leap days too, none of them in 1900.
    assert set(Counter(day.day for day in days)) == set(range(1, 32))
    by_month = Counter(day.month for day in days)
    assert max(by_month.values()) < 1.25 * min(by_month.values())
    leap = [day for day in days if (day.month, day.day) == (2, 29)]
    assert len(leap) > 10
    assert all(calendar.isleap(day.year) for day in leap)


def test_every_format_appears(corpus):
    # Narrower than what a format writes, so that no format is counted for another: 05 for a padded month, no May.
    patterns = {
        "year": r"\d{4}", "yy": r"\d\d", "m": "[1-9]", "mm": r"0\d", "d": "[1-9]", "dd": r"0\d",
        "nth": r"\d+(st|nd|rd|th)", "ordinal": "[a-z]+(-[a-z]+)?",
        "month": "(january|february|march|april|june|july|august|september|october|november|december)",
        "mon": "(jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)",
        "weekday": "[a-z]{3,}day", "day": "(mon|tues?|wed|thu|thurs|fri|sat|sun)",
        "spelt": "[a-z]+ [a-z-]+", "thousand": "two thousand and [a-z-]+",
    }  # fmt: skip
    found = Counter()
    for template in FORMATS:
        pattern = re.compile(template.replace(".", r"\.").format_map(patterns), re.IGNORECASE)
        found[template] = sum(pattern.fullmatch(source) is not None for source, _ in corpus)
    assert min(found.values()) > 50, found.most_common()[-3:]
    assert len(found) == len(FORMATS) >= 40


def test_every_case_appears(corpus):
    cases = Counter((source.islower(), source.isupper(), source.istitle()) for source, _ in corpus)
    assert min(cases[kind] for kind in [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)]) > 5000
    # Numbers in words aren't written in capitals: one alphabet less to learn for the rarest words.
    assert not [source for source, _ in corpus if re.search("FIRST|TWENTY|THOUSAND|NINETEEN|FIFTH", source)]


def test_sources_differ_and_are_of_a_learnable_length(corpus):
    sources = [source for source, _ in corpus]
    assert len(sources) == len(set(sources)) == 50_000
    assert 15 <= sum(map(len, sources)) / len(sources) <= 30
    assert max(map(len, sources)) <= 40
    assert all(source.isascii() and source == source.strip() and "\t" not in source for source in sources)


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2014, 3, 3), ["March 3rd, 2014", "the third of March 2014", "3/3/14", "Mon 3 Mar '14"]),
        (date(2000, 2, 29), ["29 Feb two thousand", "20000229", "2/29/00", "29.2.2000", "Tuesday 29th February 2000"]),
        (date(1904, 5, 11), ["11 May nineteen oh four", "the 11th day of May, 1904", "11May1904", "1904 May 11"]),
        (date(1900, 12, 22), ["22 Dec nineteen hundred", "Dec. 22, 1900", "December twenty-second, 1900"]),
        (date(2007, 10, 30), ["30 Oct two thousand seven", "30 Oct two thousand and seven"]),
        (date(1984, 8, 21), ["August 21, nineteen eighty-four", "Aug 21 '84", "8/21/84", "21-Aug-84"]),
        (date(2069, 1, 2), ["2 Jan two thousand and sixty-nine", "Wednesday the 2nd of January 2069", "01/02/2069"]),
    ],
)  # fmt: skip
def test_known_dates(day, expected):
    sources = [written(template, day) for template, years in FORMATS.items() if day.year in years]
    assert [source for source in expected if source not in sources] == []


def test_two_digit_years_are_those_of_posix():
    assert (min(TWO_DIGIT_YEARS), max(TWO_DIGIT_YEARS)) == (1969, 2068)
    assert len({year % 100 for year in TWO_DIGIT_YEARS}) == 100
    short = [template for template in FORMATS if "{yy}" in template]
    assert len(short) >= 5
    assert all(FORMATS[template] == TWO_DIGIT_YEARS for template in short)


def test_the_seed_and_the_size():
    assert date_pairs(500, seed=3) == date_pairs(1000, seed=3)[:500]
    assert len(date_pairs(1)) == 1
    overlap = set(date_pairs(500, seed=3)) & set(date_pairs(500, seed=4))
    assert len(overlap) < 25


def test_the_corpus_does_not_depend_on_the_process(corpus):
    """Another hash seed, and whatever else differs from one Python process to the next."""
    code = "from fastattn.data import date_pairs; print(hash('x'), date_pairs(200, seed=9))"
    outputs = []
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        outputs.append(run.stdout.split(" ", 1))
    assert outputs[0][0] != outputs[1][0]
    assert outputs[0][1] == outputs[1][1] == f"{date_pairs(200, seed=9)}\n"


@pytest.mark.parametrize("size", [0, -1, LARGEST_CORPUS + 1])
def test_a_size_that_cannot_be_had(size):
    with pytest.raises(ValueError, match=rf"size must be in 1\.\.{LARGEST_CORPUS}, got {size}"):
        date_pairs(size)


def test_bad_seeds_and_types():
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        date_pairs(10, seed=-1)
    with pytest.raises(TypeError):
        date_pairs(10, seed="0")
    with pytest.raises(TypeError):
        date_pairs(10.0)


def test_45_000_to_train_and_5_000_held_out(corpus):
    train, held_out = split_dates(corpus)
    assert (len(train), len(held_out)) == (45_000, 5_000)
    assert train + held_out == corpus
    assert {source for source, _ in train}.isdisjoint(source for source, _ in held_out)
    assert [len(part) for part in split_pairs(corpus, 0.1, seed=0)] == [45_000, 5_000]
    assert [len(part) for part in split_dates(corpus[:19])] == [18, 1]
    with pytest.raises(ValueError, match="at least 10 pairs are needed to hold a tenth out, got 9"):
        split_dates(corpus[:9])
