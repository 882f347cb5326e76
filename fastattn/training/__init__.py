"""Training: optimizers, the trainer, metrics, models as text to text, the folder that a model is kept in, and whole runs."""

from .metrics import Score, edit_distance, score
from .model_folder import ModelFolderError, load, save
from .optimizer import SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSprop, clip_grads
from .run import Corpus, TrainingRun, train
from .schedule import SCHEDULES, constant, linear
from .settings import DataSettings, ModelSettings, Settings, SettingsError, TrainingSettings
from .trainer import DivergedError, EpochRecord, Trainer
from .translator import SourceError, Translator

__all__ = [
    "SCHEDULES",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Corpus",
    "DataSettings",
    "DivergedError",
    "EpochRecord",
    "ModelFolderError",
    "ModelSettings",
    "Momentum",
    "Nesterov",
    "Optimizer",
    "RMSprop",
    "Score",
    "Settings",
    "SettingsError",
    "SourceError",
    "Trainer",
    "TrainingRun",
    "TrainingSettings",
    "Translator",
    "clip_grads",
    "constant",
    "edit_distance",
    "linear",
    "load",
    "save",
    "score",
    "train",
]
