"""The built-in corpus: many ways in which people write a date in English -> ISO 8601 (YYYY-MM-DD).

Every source says one date, by these conventions:

- slashes are the United States' month/day/year (3/14/2014), unless a year of four digits comes first (2014/03/14);
- dots are day.month.year (14.3.2014), unless a year of four digits comes first (2014.03.14);
- hyphens between numbers, and eight digits in a row, are ISO 8601's year, month, day (2014-03-14, 20140314);
- a year of two digits lies in 1969 .. 2068, the window of POSIX `strptime` (69 is 1969, 68 is 2068);
- all other years lie in 1900 .. 2099; a weekday, where there is one, is the date's true one (Gregorian calendar).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from datetime import date

from fastattn.data.pairs import Pair
from fastattn.data.seeded import Seeded

YEARS = range(1900, 2100)
TWO_DIGIT_YEARS = range(1969, 2069)
MILLENNIUM = range(2000, 2100)

# Template -> the years it is written for. The fields are those of `_fields`.
FORMATS: dict[str, range] = {
    "{year}-{mm}-{dd}": YEARS,
    "{year}/{mm}/{dd}": YEARS,
    "{year}.{mm}.{dd}": YEARS,
    "{year}{mm}{dd}": YEARS,
    "{m}/{d}/{year}": YEARS,
    "{mm}/{dd}/{year}": YEARS,
    "{m}/{d}/{yy}": TWO_DIGIT_YEARS,
    "{mm}/{dd}/{yy}": TWO_DIGIT_YEARS,
    "{d}.{m}.{year}": YEARS,
    "{dd}.{mm}.{year}": YEARS,
    "{d}.{m}.{yy}": TWO_DIGIT_YEARS,
    "{d} {month} {year}": YEARS,
    "{d} {mon} {year}": YEARS,
    "{dd} {mon} {year}": YEARS,
    "{d}-{mon}-{year}": YEARS,
    "{d}-{mon}-{yy}": TWO_DIGIT_YEARS,
    "{d} {mon} '{yy}": TWO_DIGIT_YEARS,
    "{dd}{mon}{year}": YEARS,
    "{mon} {d} {year}": YEARS,
    "{mon} {d}, {year}": YEARS,
    "{mon}. {d}, {year}": YEARS,
    "{mon} {d} '{yy}": TWO_DIGIT_YEARS,
    "{month} {d}, {year}": YEARS,
    "{month} {nth} {year}": YEARS,
    "{month} {nth}, {year}": YEARS,
    "{month} {nth}, '{yy}": TWO_DIGIT_YEARS,
    "{nth} {month} {year}": YEARS,
    "{nth} of {month} {year}": YEARS,
    "{nth} of {month}, {year}": YEARS,
    "the {nth} of {month} {year}": YEARS,
    "the {nth} day of {month}, {year}": YEARS,
    "{month} {ordinal}, {year}": YEARS,
    "{month} the {ordinal}, {year}": YEARS,
    "{ordinal} of {month} {year}": YEARS,
    "the {ordinal} of {month} {year}": YEARS,
    "the {ordinal} of {month}, {year}": YEARS,
    "{year} {month} {d}": YEARS,
    "{year} {mon} {dd}": YEARS,
    "{year}, {month} {nth}": YEARS,
    "{weekday}, {d} {month} {year}": YEARS,
    "{weekday}, {month} {d}, {year}": YEARS,
    "{weekday} {nth} {month} {year}": YEARS,
    "{weekday} the {nth} of {month} {year}": YEARS,
    "{day} {d} {mon} {year}": YEARS,
    "{day}, {d} {mon} {year}": YEARS,
    "{day} {mon} {d} {year}": YEARS,
    "{day}, {month} {nth}, {year}": YEARS,
    "{day} {d} {mon} '{yy}": TWO_DIGIT_YEARS,
    "{d} {mon} {spelt}": YEARS,
    "{mon} {nth}, {spelt}": YEARS,
    "{month} {d}, {spelt}": YEARS,
    "{d} {mon} {thousand}": MILLENNIUM,
}

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
SHORT_MONTHS = (
    ("Jan",), ("Feb",), ("Mar",), ("Apr",), ("May",), ("Jun",),
    ("Jul",), ("Aug",), ("Sep", "Sept"), ("Oct",), ("Nov",), ("Dec",),
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SHORT_WEEKDAYS = (("Mon",), ("Tue", "Tues"), ("Wed",), ("Thu", "Thurs"), ("Fri",), ("Sat",), ("Sun",))
ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth",
    "nineteenth", "twentieth", "twenty-first", "twenty-second", "twenty-third", "twenty-fourth", "twenty-fifth",
    "twenty-sixth", "twenty-seventh", "twenty-eighth", "twenty-ninth", "thirtieth", "thirty-first",
)  # fmt: skip
ONES = (
    "", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

# As written, twice as often as in small or in capital letters; numbers in words are not written in capitals.
CASES: tuple[Callable[[str], str], ...] = (str, str, str.lower, str.upper)
CASES_IN_WORDS: tuple[Callable[[str], str], ...] = (str, str, str.lower)
FIELDS_IN_WORDS = ("{ordinal}", "{spelt}", "{thousand}")

# Far below the number of sources that exist, so that drawing until one is new stays quick.
LARGEST_CORPUS = 500_000

_FIRST_DAY = {years: date(years.start, 1, 1).toordinal() for years in (YEARS, TWO_DIGIT_YEARS, MILLENNIUM)}
_DAYS = {years: date(years.stop, 1, 1).toordinal() - first for years, first in _FIRST_DAY.items()}


def date_pairs(size: int = 50_000, seed: int = 0) -> list[Pair]:
    """`size` pairs (a date as people write it, YYYY-MM-DD), all sources different, in random order.

    The format is drawn evenly from `FORMATS`, the date evenly from the format's years. The same size and seed
    give the same pairs on every platform and Python version; a smaller size gives the beginning of a larger one.

    Raises ValueError for a size outside 1 .. `LARGEST_CORPUS` and for a negative seed.
    """
    size = operator.index(size)
    if not 1 <= size <= LARGEST_CORPUS:
        raise ValueError(f"size must be in 1..{LARGEST_CORPUS}, got {size}")
    seeded = Seeded(seed)
    formats = list(FORMATS)
    targets: dict[str, str] = {}
    while len(targets) < size:
        template = seeded.choose(formats)
        years = FORMATS[template]
        day = date.fromordinal(_FIRST_DAY[years] + seeded.below(_DAYS[years]))
        in_words = any(field in template for field in FIELDS_IN_WORDS)
        case = seeded.choose(CASES_IN_WORDS if in_words else CASES)
        targets[case(template.format_map(_fields(day, seeded)))] = day.isoformat()
    return list(targets.items())


def split_dates(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """The corpus of `date_pairs` as (train, held out): the last tenth is held out, 5,000 of 50,000.

    The sources are all different and in random order, so a plain cut is a fair draw. Raises ValueError for
    fewer than 10 pairs.
    """
    if len(pairs) < 10:
        raise ValueError(f"at least 10 pairs are needed to hold a tenth out, got {len(pairs)}")
    cut = len(pairs) - len(pairs) // 10
    return list(pairs[:cut]), list(pairs[cut:])


def _fields(day: date, seeded: Seeded) -> dict[str, str]:
    """What stands for a date in a template; where there are several spellings, `seeded` chooses."""
    return {
        "year": str(day.year),
        "yy": f"{day.year % 100:02}",
        "m": str(day.month),
        "mm": f"{day.month:02}",
        "month": MONTHS[day.month - 1],
        "mon": seeded.choose(SHORT_MONTHS[day.month - 1]),
        "d": str(day.day),
        "dd": f"{day.day:02}",
        "nth": f"{day.day}{_suffix(day.day)}",
        "ordinal": ORDINALS[day.day - 1],
        "weekday": WEEKDAYS[day.weekday()],
        "day": seeded.choose(SHORT_WEEKDAYS[day.weekday()]),
        "spelt": _spelt(day.year),
        "thousand": _thousand(day.year),
    }


def _suffix(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 12th, 13th, 21st, ..."""
    return "th" if number in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def _below_hundred(number: int) -> str:
    """1 .. 99 in words."""
    if number < 20:
        return ONES[number]
    return f"{TENS[number // 10]}-{ONES[number % 10]}".rstrip("-")


def _spelt(year: int) -> str:
    """nineteen hundred, nineteen oh four, nineteen eighty-four, two thousand, two thousand four, twenty fourteen"""
    century, rest = divmod(year, 100)
    if century == 20 and rest < 10:
        return f"two thousand {ONES[rest]}".rstrip()
    if rest == 0:
        return f"{_below_hundred(century)} hundred"
    return f"{_below_hundred(century)} {'oh ' if rest < 10 else ''}{_below_hundred(rest)}"


def _thousand(year: int) -> str:
    """two thousand, two thousand and four, two thousand and fourteen: years from 2000 on, as said in Britain"""
    return f"two thousand and {_below_hundred(year % 100)}" if year % 100 else "two thousand"
