"""Training: optimizers, the trainer, metrics, models as text to text, and the folder that a model is kept in."""

from .metrics import Score, edit_distance, score
from .model_folder import ModelFolderError, load, save
from .optimizer import SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSprop, clip_grads
from .schedule import SCHEDULES, constant, linear
from .trainer import DivergedError, EpochRecord, Trainer
from .translator import Answer, SourceError, Translator, ensemble

__all__ = [
    "SCHEDULES",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Answer",
    "DivergedError",
    "EpochRecord",
    "ModelFolderError",
    "Momentum",
    "Nesterov",
    "Optimizer",
    "RMSprop",
    "Score",
    "SourceError",
    "Trainer",
    "Translator",
    "clip_grads",
    "constant",
    "edit_distance",
    "ensemble",
    "linear",
    "load",
    "save",
    "score",
]
