"""The choices that make a model: each is checked, what cannot be combined is refused with the reason, and JSON keeps them."""

import dataclasses
import json
import math

import numpy as np
import pytest

import fastattn
from fastattn.models import ModelConfig
from fastattn.models.config import DropoutRatios

V, D, H = 13, 7, 12
RATIO = "expected 0 <= "


def config(**choices):
    return ModelConfig(V, D, H, **choices)


BAD = [
    ({"target_vocabulary": 0}, ValueError, "target_vocabulary is 0; expected at least 1"),
    ({"dtype": "float16"}, TypeError, "dtype is float16; expected float32 or float64"),
    ({"dtype": "single precision"}, TypeError, "dtype is 'single precision'; expected float32 or float64"),
    ({"dtype": {"names": ["a"]}}, TypeError, "dtype is {'names': ['a']}; expected float32 or float64"),
    ({"dtype": "(,)f4"}, TypeError, "dtype is '(,)f4'; expected float32 or float64"),
    ({"dropout": 1.0}, ValueError, "dropout is 1.0; " + RATIO),
    ({"dropout": -0.1}, ValueError, "dropout is -0.1; " + RATIO),
    ({"dropout": math.nan}, ValueError, "dropout is nan; " + RATIO),
    ({"dropout": True}, TypeError, "dropout is True; expected a number"),
    ({"dropout": "0.1"}, TypeError, "dropout is '0.1'; expected a number"),
    ({"dropout": {"layers": 1.5}}, ValueError, "dropout['layers'] is 1.5; " + RATIO),
    ({"dropout": {"layer": 0.5}}, ValueError, "dropout has a place 'layer'; expected one of 'embedding', 'layers', "),
    ({"encoder_layers": 0}, ValueError, "encoder_layers is 0; expected at least 1"),
    ({"decoder_layers": 2.0}, TypeError, "decoder_layers is 2.0; expected a whole number"),
    ({"encoder_layers": True}, TypeError, "encoder_layers is True; expected a whole number"),
    ({"bidirectional": 1}, TypeError, "bidirectional is 1; expected True or False"),
    ({"residual": None}, TypeError, "residual is None; expected True or False"),
    ({"encoder_hidden": 2**24 + 1}, ValueError, "encoder_hidden is 16777217; expected at most 16777216"),
    ({"encoder_hidden": 0}, ValueError, "encoder_hidden is 0; expected at least 1"),
    (
        {"attention": "luong"},
        ValueError,
        "attention is 'luong'; expected one of 'dot', 'scaled_dot', 'general', 'additive', None",
    ),
    ({"attention": 1}, TypeError, "attention is 1; expected one of 'dot', "),
    ({"attention_size": -3, "attention": "additive"}, ValueError, "attention_size is -3; expected at least 1"),
    ({"attentional_size": 1.5}, TypeError, "attentional_size is 1.5; expected a whole number"),
    ({"bridge": "first"}, ValueError, "bridge is 'first'; expected one of 'last', 'last_state', 'affine', 'zeros'"),
    ({"bridge": None}, TypeError, "bridge is None; expected one of 'last', "),
    ({"recurrent_dropout": 1}, ValueError, "recurrent_dropout is 1; " + RATIO),
    ({"word_dropout": [0.1]}, TypeError, "word_dropout is [0.1]; expected a number"),
    ({"label_smoothing": 1.0}, ValueError, "label_smoothing is 1.0; " + RATIO),
    ({"forget_bias": math.inf}, ValueError, "forget_bias is inf; expected a finite number"),
    ({"forget_bias": 10**400}, ValueError, "; expected a finite number"),
    ({"forget_bias": 1e39}, ValueError, "forget_bias is 1e+39; expected a finite number of float32"),
    ({"forget_bias": "1"}, TypeError, "forget_bias is '1'; expected a number"),
    ({"orthogonal": 0}, TypeError, "orthogonal is 0; expected True or False"),
]
REFUSED = [
    (
        {"bidirectional": True, "bridge": "affine"},
        "attention=\"dot\" multiplies states of equal widths, but the encoder's are 24 wide and the decoder's 12; expected "
        'attention="general" or "additive", encoder_hidden=6, or project_encoder=True',
    ),
    ({"encoder_hidden": 9, "attention": "scaled_dot", "bridge": "zeros"}, 'attention="scaled_dot" multiplies states of equal'),
    (
        {"bidirectional": True, "attention": "general"},
        "bridge=\"last\" hands the encoder's last state on as it is, but it is 24 wide and the decoder's 12; expected "
        'bridge="affine" or "zeros", or encoder_hidden=6',
    ),
    ({"encoder_hidden": 9, "project_encoder": True, "bridge": "last_state"}, 'bridge="last_state" hands'),
    ({"attention_size": 5}, 'attention_size is 5, but only attention="additive" has a width of its own'),
    ({"attention_size": 5, "attention": None}, "attention_size is 5, but only"),
    ({"input_feeding": True}, "input_feeding=True feeds the attentional state of the step before; expected an attention, and"),
    ({"input_feeding": True, "attentional_size": 5, "attention": None}, "input_feeding=True feeds the attentional state"),
    ({"attention": None, "bridge": "zeros"}, 'attention=None with bridge="zeros" lets the decoder know nothing of the source'),
    ({"attention": None, "project_encoder": True}, "project_encoder=True projects the states that attention reads"),
    ({"attention": None, "dropout": {"encoder": 0.5}}, "drops from the states that attention reads, and attention is None"),
    (
        {"share_embeddings": True, "target_vocabulary": 9},
        "share_embeddings=True needs one vocabulary, but the source's size is 13",
    ),
]


@pytest.mark.parametrize(
    "make", [config, lambda **choices: fastattn.AttentionSeq2seq(V, D, H, **choices)], ids=["config", "model"]
)
@pytest.mark.parametrize(("choices", "error", "message"), [*BAD, *((c, ValueError, m) for c, m in REFUSED)])
def test_a_bad_choice(make, choices, error, message):
    with pytest.raises(error) as caught:
        make(**choices)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["source_vocabulary", "embedding", "hidden"])
def test_bad_sizes(name):
    sizes = {"source_vocabulary": V, "embedding": D, "hidden": H}
    with pytest.raises(ValueError, match=f"{name} is 0; expected at least 1"):
        ModelConfig(**{**sizes, name: 0})


@pytest.mark.parametrize("name", ["encoder_layers", "decoder_layers"])
def test_more_layers_than_anybody_trains_are_refused_before_they_are_built(name):
    with pytest.raises(ValueError, match=f"{name} is 100000; expected at most 100"):
        config(**{name: 100_000})
    assert getattr(config(**{name: 100}), name) == 100


def test_an_odd_width_is_not_halved():
    with pytest.raises(ValueError, match=r'expected attention="general" or "additive", or project_encoder=True'):
        ModelConfig(V, D, 11, bidirectional=True, bridge="affine")


def test_the_ways_out_are_ways_out():
    for way in ({"attention": "general"}, {"attention": "additive"}, {"encoder_hidden": 6}, {"project_encoder": True}):
        config(bidirectional=True, bridge="affine", **way)
    for way in ({"bridge": "affine"}, {"bridge": "zeros"}, {"encoder_hidden": 6}):
        config(bidirectional=True, attention="general", **way)


def test_what_follows_is_made_explicit():
    made = config(attention="additive", bridge="affine", encoder_hidden=5, dtype=np.float64, dropout=0.25, word_dropout=0)
    assert (made.target_vocabulary, made.attention_size, made.encoder_hidden, made.dtype) == (V, H, 5, "float64")
    assert made.dropout == DropoutRatios(embedding=0.25, layers=0.25, output=0.25)
    assert config(dropout={"encoder": 0.5}).dropout == DropoutRatios(encoder=0.5)
    assert config().encoder_hidden == H
    assert config().attention_size is None
    assert type(made.word_dropout) is float


def test_it_is_frozen_and_compares_by_its_choices():
    made = config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.hidden = 3
    assert made == ModelConfig(V, D, H, target_vocabulary=V, encoder_hidden=H, dtype="float32", dropout=0)
    assert hash(made) == hash(config())
    assert made != config(residual=True)


def test_json():
    made = config(
        bidirectional=True, attention="additive", attentional_size=5, input_feeding=True, bridge="affine", dropout=0.5
    )
    content = json.loads(json.dumps(made.to_json()))
    assert list(content) == [field.name for field in dataclasses.fields(ModelConfig)]
    assert ModelConfig.from_json(content) == made


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda c: c.update(layers=3, more=1),
            ValueError,
            "'layers' is no option of a model; expected one of source_vocabulary, ",
        ),
        (lambda c: c.pop("bridge"), ValueError, "the config of a model has no 'bridge'"),
        (lambda c: c.update(dtype=None), TypeError, "dtype is None; expected float32 or float64"),
        (lambda c: c.update(dropout=None), TypeError, "dropout is None; expected a number"),
        (lambda c: c.update(hidden=None), TypeError, "hidden is None; expected a whole number"),
        (lambda c: c.update(attention=["dot"]), TypeError, "attention is ['dot']; expected one of"),
        (lambda c: c.update(target_vocabulary="9"), TypeError, "target_vocabulary is '9'; expected a whole number"),
    ],
)
def test_bad_json(change, error, message):
    content = config().to_json()
    change(content)
    with pytest.raises(error) as caught:
        ModelConfig.from_json(content)
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [None, [], "dot", 3])
def test_json_that_is_no_object(content):
    with pytest.raises(TypeError, match="expected an object"):
        ModelConfig.from_json(content)


def test_parts_have_only_the_options_that_concern_them():
    with pytest.raises(TypeError, match="Encoder has no option 'attention'; expected one of dtype, dropout, encoder_layers"):
        fastattn.Encoder(V, D, H, attention="dot")
    with pytest.raises(TypeError, match="Decoder has no option 'share_embeddings'; expected one of"):
        fastattn.Decoder(V, D, H, share_embeddings=True)


def test_a_model_is_made_of_a_config_and_of_nothing_else():
    with pytest.raises(TypeError, match="config is dict; expected a ModelConfig"):
        fastattn.AttentionSeq2seq.from_config(config().to_json())
