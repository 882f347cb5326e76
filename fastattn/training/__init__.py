"""Training: optimizers, the trainer, metrics, models as text to text, and the folder that a model is kept in."""

from .metrics import Score, edit_distance, score
from .model_folder import ModelFolderError, load, save
from .optimizer import SGD, AdaGrad, Adam, AdamW, Momentum, Optimizer, RMSprop, clip_grads
from .trainer import DivergedError, EpochRecord, Trainer
from .translator import SourceError, Translator

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "DivergedError",
    "EpochRecord",
    "ModelFolderError",
    "Momentum",
    "Optimizer",
    "RMSprop",
    "Score",
    "SourceError",
    "Trainer",
    "Translator",
    "clip_grads",
    "edit_distance",
    "load",
    "save",
    "score",
]
