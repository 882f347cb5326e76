"""`fastattn attention`: the picture, and what is in the way of one."""

import importlib.util
import os
import re
import sys

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")

from fontTools.fontBuilder import FontBuilder  # noqa: E402
from fontTools.pens.ttGlyphPen import TTGlyphPen  # noqa: E402
from matplotlib import font_manager  # noqa: E402
from matplotlib.image import imread  # noqa: E402

import fastattn  # noqa: E402
from fastattn.data import Vocabulary  # noqa: E402
from fastattn.drawing import AttentionMap, DrawingWarning, Tokens, attention, fonts  # noqa: E402
from fastattn.drawing.fonts import Fonts  # noqa: E402
from fastattn.training import Translator, save  # noqa: E402


def test_the_picture_is_one(trained, tmp_path, module):
    done = module("attention", trained / "model", "abc", "--out", tmp_path / "map.png")
    assert (done.returncode, done.stderr) == (0, b"")
    answer = module("translate", trained / "model", "abc")
    assert done.stdout == answer.stdout
    pixels = imread(tmp_path / "map.png")
    assert pixels.shape[0] > 100
    assert pixels.shape[1] > 100
    assert pixels.std() > 0.01


@pytest.mark.parametrize(("name", "beginning"), [("a.svg", b"<?xml"), ("a.pdf", b"%PDF"), ("a.PNG", b"\x89PNG")])
def test_the_ending_says_the_format(trained, tmp_path, fastattn_command, name, beginning):
    code, _, err = fastattn_command("attention", trained / "model", "abc", "--out", tmp_path / name)
    assert (code, err) == (0, "")
    assert (tmp_path / name).read_bytes().startswith(beginning)


@pytest.mark.parametrize("name", ["map.txt", "map", "png", "map.pgf"])
def test_an_ending_that_is_no_format(trained, tmp_path, fastattn_command, name):
    code, out, err = fastattn_command("attention", trained / "model", "abc", "--out", tmp_path / name)
    assert (code, out) == (1, "")
    assert err.startswith(f"fastattn: {tmp_path / name}: no such picture format; expected one of .")
    assert ".png" in err
    assert not (tmp_path / name).exists()


def test_a_place_that_cannot_be_written(trained, tmp_path, fastattn_command):
    code, out, err = fastattn_command("attention", trained / "model", "abc", "--out", tmp_path / "no" / "map.png")
    assert (code, out, err) == (1, "", f"fastattn: {tmp_path / 'no' / 'map.png'}: No such file or directory\n")


def test_what_is_not_utf8_is_drawn_as_unknown(trained, tmp_path, fastattn_command):
    code, _, _ = fastattn_command("attention", trained / "model", os.fsdecode(b"a\xff"), "--out", tmp_path / "map.png")
    assert code == 0
    assert (tmp_path / "map.png").exists()


def test_no_attention_no_picture(tmp_path, fastattn_command):
    vocabulary = Vocabulary.from_texts(["abc"])
    model = fastattn.AttentionSeq2seq(len(vocabulary), 3, 4, attention=None)
    save(tmp_path / "model", Translator(model, vocabulary, vocabulary, reverse_source=False, max_target_tokens=3), [], {})
    code, out, err = fastattn_command("attention", tmp_path / "model", "abc", "--out", tmp_path / "map.png")
    assert (code, out, err) == (1, "", f"fastattn: {tmp_path / 'model'}: the model has no attention\n")


def test_no_tokens_no_picture(trained, tmp_path, fastattn_command):
    code, out, err = fastattn_command("attention", trained / "model", "", "--out", tmp_path / "map.png")
    assert (code, out, err) == (1, "", "fastattn: the source has 0 tokens; expected 1 to 32768\n")
    assert not (tmp_path / "map.png").exists()


def test_without_matplotlib(trained, tmp_path, fastattn_command, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))
    code, out, err = fastattn_command("attention", trained / "model", "abc", "--out", tmp_path / "map.png")
    assert (code, out) == (1, "")
    assert err == "fastattn: drawing needs matplotlib; install it with: pip install 'fastattn[plot]'\n"


def picture(source, answer, weights, format="png"):
    return AttentionMap(Tokens(source, answer), weights, "").picture(format)


def drawn(monkeypatch, source, answer, weights):
    """The axes of a picture."""
    from matplotlib.figure import Figure

    figures = []
    original = Figure.savefig

    def savefig(self, *arguments, **options):
        figures.append(self)
        return original(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    picture(source, answer, weights)
    return figures[0].axes[0]


def test_every_symbol_has_its_place(monkeypatch, rng):
    source, answer = ["a", " ", "$x$", "ü"], ["b", "$", "end"]
    weights = rng.random((3, 4))
    axes = drawn(monkeypatch, source, answer, weights)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "␣", "$x$", "ü"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "$", "end"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("source", "answer")
    np.testing.assert_array_equal(axes.images[0].get_array(), weights)
    low, high = axes.get_ylim()
    assert low > high  # the answer goes from top to bottom


def a_font(path, characters, name="Tiny", style="Regular"):
    """A file of a font whose signs are squares."""
    names = {character: f"u{ord(character):04X}" for character in characters}
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 600), (600, 600), (600, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square, nothing = pen.glyph(), TTGlyphPen(None).glyph()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", *names.values()])
    font.setupCharacterMap({ord(character): each for character, each in names.items()})
    # A font of colours has no outlines.
    font.setupGlyf({".notdef": nothing} | dict.fromkeys(names.values(), nothing if name == "Empty" else square))
    font.setupHorizontalMetrics(dict.fromkeys([".notdef", *names.values()], (700, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": name, "styleName": style, "psName": name})
    font.setupOS2(usWeightClass=700 if style == "Bold" else 400)
    font.setupPost()
    font.save(path)
    return str(path)


@pytest.fixture
def machine(monkeypatch):
    """machine(files that matplotlib knows, new=those that it does not know): the machine has these, and matplotlib's own."""
    own = [entry for entry in font_manager.fontManager.ttflist if entry.name in ("DejaVu Sans", "Last Resort High-Efficiency")]

    def has(*known, new=()):
        monkeypatch.setattr(font_manager.fontManager, "ttflist", own[:])
        for file in known:
            font_manager.fontManager.addfont(file)
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [entry.fname for entry in own] + [*known, *new])

    has()
    return has


def files_of(families):
    """What matplotlib finds by them."""
    found = [font_manager.findfont(font_manager.FontProperties(family=[each]), fallback_to_default=False) for each in families]
    return [os.path.basename(file) for file in found]


THAI, DEVANAGARI, JAPANESE, FAMILY = "กขคง", "क्षि", "日本", "👩\u200d👩\u200d👧"
DEFAULT = "DejaVuSans.ttf"


def test_a_font_that_has_the_signs_is_found(machine, tmp_path):
    files = [a_font(tmp_path / "thai.ttf", THAI, "A Thai"), a_font(tmp_path / "deva.ttf", DEVANAGARI, "Some Devanagari")]
    machine(*files)
    families, without = Fonts().families([*THAI, DEVANAGARI, "a", "ابت", "e\u0301"])
    assert not without
    assert {label: files_of(each)[0] for label, each in families.items()} == dict.fromkeys(THAI, "thai.ttf") | {
        DEVANAGARI: "deva.ttf"
    } | dict.fromkeys(("a", "ابت", "e\u0301"), DEFAULT)


def test_a_font_for_the_whole_label_comes_before_several_for_its_parts(machine, tmp_path):
    parts = [a_font(tmp_path / "1.ttf", JAPANESE[0], "1 Sans"), a_font(tmp_path / "2.ttf", JAPANESE[1], "2 Sans")]
    machine(*parts)
    families, without = Fonts().families([f"a{JAPANESE}"])
    assert (files_of(families[f"a{JAPANESE}"]), without) == ([DEFAULT, "1.ttf", "2.ttf"], {})
    machine(*parts, a_font(tmp_path / "whole.ttf", f"a{JAPANESE}", "Whole"))
    families, _ = Fonts().families([f"a{JAPANESE}"])
    assert files_of(families[f"a{JAPANESE}"]) == ["whole.ttf", DEFAULT]


def test_joiners_need_no_sign(machine, tmp_path):
    machine(a_font(tmp_path / "faces.ttf", "👩👧"))
    families, without = Fonts().families([FAMILY, "👩\ufe0f"])
    assert ({files_of(each)[0] for each in families.values()}, without) == ({"faces.ttf"}, {})


def test_a_font_that_cannot_be_drawn_with_is_none(machine, tmp_path):
    machine(a_font(tmp_path / "empty.ttf", THAI, "Empty"), new=[str(tmp_path / "gone.ttf"), __file__])
    assert Fonts().families(["ก", "aก"])[1] == {"ก": "ก", "aก": "ก"}


def test_of_a_family_the_upright_file_of_normal_weight_is_taken(machine, tmp_path):
    files = [a_font(tmp_path / f"{style}.ttf", THAI, style=style) for style in ("Bold", "Regular")]
    for has in (lambda: machine(*files), lambda: machine(new=files)):
        has()
        assert files_of(Fonts().families(["ก"])[0]["ก"]) == ["Regular.ttf", DEFAULT]


def test_fonts_are_looked_at_only_as_long_as_it_needs(machine, tmp_path, monkeypatch):
    machine(a_font(tmp_path / "a.ttf", THAI, "A Sans"), a_font(tmp_path / "b.ttf", DEVANAGARI, "B"))
    opened = []
    original = fonts._open
    monkeypatch.setattr(fonts, "_open", lambda font: opened.append(os.path.basename(font)) or original(font))
    Fonts().families(["x", "é"])
    assert set(opened) <= {DEFAULT}
    monkeypatch.setattr(font_manager, "findSystemFonts", None)  # it walks through folders
    Fonts().families([*THAI])
    assert set(opened) == {DEFAULT, "a.ttf"}


def test_what_was_installed_since_matplotlib_made_its_list_is_found(machine, tmp_path, monkeypatch, rng):
    file = a_font(tmp_path / "new.ttf", THAI, "New")
    machine(new=[file])
    axes = drawn(monkeypatch, ["ก", "a"], ["ข"], rng.random((1, 2)))
    assert [files_of(label.get_fontfamily())[0] for label in axes.get_xticklabels()] == ["new.ttf", DEFAULT]
    assert [files_of(label.get_fontfamily())[0] for label in axes.get_yticklabels()] == ["new.ttf"]
    assert files_of(Fonts("New").families(["ก"])[0]["ก"])[0] == "new.ttf"


@pytest.mark.parametrize("named", ["as a file", "as a family"])
def test_a_font_that_is_named_comes_first(machine, tmp_path, trained, fastattn_command, monkeypatch, named):
    file = a_font(tmp_path / "own.otf", "abกข", "My Own")
    machine(*(() if named == "as a file" else (file,)), a_font(tmp_path / "thai.ttf", THAI))
    given = file if named == "as a file" else "My Own"
    families, _ = Fonts(given).families(["a", "c", "ก", "ค", "cก"])
    expected = {"a": "own.otf", "c": DEFAULT, "ก": "own.otf", "ค": "thai.ttf", "cก": DEFAULT}
    assert {label: files_of(each)[0] for label, each in families.items()} == expected
    assert files_of(families["cก"])[:2] == [DEFAULT, "own.otf"]
    pictures = []
    for options in ([], ["--font", given]):
        code, _, err = fastattn_command("attention", trained / "model", "abc", *options, "--out", tmp_path / "map.png")
        assert (code, err) == (0, "")
        pictures.append((tmp_path / "map.png").read_bytes())
    assert pictures[0] != pictures[1]


def test_a_font_that_is_none(machine, tmp_path, trained, fastattn_command):
    machine(a_font(tmp_path / "tiny.ttf", THAI, "Tiny Thai"))
    for given, said in [
        ("Tiny Tai", "there is no font 'Tiny Tai'; expected a file, or a family that is installed; did you mean Tiny Thai?"),
        (tmp_path / "none.ttf", f"{tmp_path / 'none.ttf'}: No such file or directory"),
        (tmp_path, f"{tmp_path} is no font with outlines; expected a .ttf, .otf or .ttc file"),
        ("/dev/zero", "/dev/zero is no font with outlines; expected a .ttf, .otf or .ttc file"),
        ("", "'' is no font; expected a file, or a family that is installed"),
        (__file__, f"{__file__} is no font with outlines; expected a .ttf, .otf or .ttc file"),
    ]:
        code, out, err = fastattn_command("attention", trained / "model", "abc", "--font", given, "--out", tmp_path / "map.png")
        assert (code, out, err) == (1, "", f"fastattn: --font: {said}\n")
        assert not (tmp_path / "map.png").exists()


@pytest.mark.parametrize(
    ("symbols", "named", "install"),
    [
        ("ก", "'ก'", "Noto Sans (Debian: fonts-noto-core)"),
        (["日本", "한", "あ"], "'日本', '한', 'あ'", "Noto Sans CJK (Debian: fonts-noto-cjk)"),
        ([FAMILY], "U+1F469 U+200D U+1F469 U+200D U+1F467", "Symbola (Debian: fonts-symbola)"),
        (["ि", "ab日"], "U+093F, 'ab日'", "Noto Sans (Debian: fonts-noto-core), Noto Sans CJK (Debian: fonts-noto-cjk)"),
    ],
)
def test_symbols_that_no_font_has_a_sign_for_are_named_once(machine, symbols, named, install):
    with pytest.warns(DrawingWarning) as said:
        picture([*symbols, *symbols], [*symbols, "a"], np.ones((len(symbols) + 1, 2 * len(symbols))))
    words = (
        f"no font of this machine has signs for {named}: they are drawn as boxes; install {install}, or name a font (--font)"
    )
    assert [str(each.message) for each in said] == [words]
    assert said[0].filename == __file__


def test_what_this_matplotlib_only_puts_in_a_row_is_named(machine, tmp_path, monkeypatch):
    machine(a_font(tmp_path / "some.ttf", DEVANAGARI + FAMILY.replace("\u200d", "")))
    labels = [DEVANAGARI, "אב", "ש", FAMILY, "é", "ab", "क"]
    monkeypatch.setattr(attention, "can_shape", lambda: True)
    picture(labels, ["a"], np.ones((1, 7)))
    monkeypatch.setattr(attention, "can_shape", lambda: False)
    with pytest.warns(DrawingWarning) as said:
        picture(labels, ["a"], np.ones((1, 7)))
    assert str(said[0].message) == (
        f"matplotlib {matplotlib.__version__} draws 'क्षि', 'אב', U+1F469 U+200D U+1F469 U+200D U+1F467 sign by sign "
        "from left to right; version 3.11 draws them as they are written"
    )


@pytest.mark.skipif(not fonts.can_shape(), reason="this matplotlib draws from left to right")
def test_letters_of_a_label_stand_from_right_to_left(machine):
    def signs(label):
        drawing = picture(["x", label], ["x"], np.ones((1, 2)), "svg").decode()
        ticks = drawing.split('id="xtick_2"')[1].split('id="matplotlib.axis_2"')[0].split("<!-- source -->")[0]
        return re.findall(r'<use xlink:href="#(DejaVuSans-[0-9a-f]+)"', ticks)

    (alef,), (bet,) = signs("א"), signs("ב")
    assert alef != bet
    assert signs("אב") == [bet, alef]
    assert signs("ab") == [*signs("a"), *signs("b")]


def test_symbols_stand_in_the_order_in_which_they_are_read(monkeypatch, rng):
    """Also those of a text that is written from right to left: the model reads them from the left of the picture."""
    axes = drawn(monkeypatch, [*"ابتث"], [*"ثت"], rng.random((2, 4)))
    assert [label.get_text() for label in axes.get_xticklabels()] == [*"ابتث"]


@pytest.mark.filterwarnings("ignore:matplotlib .* draws:fastattn.drawing.DrawingWarning")  # before 3.11
@pytest.mark.parametrize(
    ("symbols", "rotation"), [(["ab"], 0), (["abc"], 90), ([DEVANAGARI, FAMILY, "e\u0301\u0302"], 0), (["\u200d"], 90)]
)
def test_only_wide_labels_are_turned(monkeypatch, machine, tmp_path, symbols, rotation):
    machine(a_font(tmp_path / "some.ttf", DEVANAGARI + FAMILY))
    axes = drawn(monkeypatch, symbols, ["a"], np.ones((1, len(symbols))))
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {rotation}


@pytest.mark.parametrize("symbol", ["\u200d", "\ufe0f", "\x01", "\t", "\u00a0", "\u3000"])
def test_what_cannot_be_seen_is_a_number(monkeypatch, capsys, symbol):
    axes = drawn(monkeypatch, [symbol], ["a"], np.ones((1, 1)))
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"U+{ord(symbol):04X}"]
    assert capsys.readouterr().err == ""


def test_a_long_text_is_drawn_still(rng):
    picture(["a"] * 400, ["b"] * 3, rng.random((3, 400)))


def test_nothing_is_drawn_on_a_screen(trained, tmp_path, module):
    """The picture needs no display, and no state of matplotlib's that others may hold."""
    done = module(*("attention", trained / "model", "abc", "--out", tmp_path / "map.png"), environment={"MPLBACKEND": "tkagg"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert "matplotlib.pyplot" not in sys.modules


def test_what_is_drawn_as_a_box_is_said_in_a_line(machine, trained, tmp_path, fastattn_command):
    code, _, err = fastattn_command("attention", trained / "model", "a日", "--out", tmp_path / "map.png")
    assert code == 0
    *_, line = err.splitlines()
    assert line.startswith(
        "fastattn: no font of this machine has signs for '日': they are drawn as boxes; install Noto Sans CJK"
    )
