"""Training: optimizers, the trainer, models as text to text, the folder that a model is kept in, and whole runs."""

from fastattn.evaluation import Score, edit_distance, score

from .board import Board
from .model_folder import ModelFolderError, save
from .optimizer import SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSprop, clip_grads
from .records import DivergedError, EpochRecord, History, Outcome, StepRecord, TrainingWarning, epoch_line
from .run import SplitPairs
from .schedule import (
    SCHEDULES,
    Constant,
    Cosine,
    Done,
    InverseSqrt,
    Linear,
    Plateau,
    Schedule,
    constant,
    linear,
    make_schedule,
)
from .settings import CardSettings, DataSettings, ModelSettings, Settings, SettingsError, TrainingSettings
from .state import State
from .stopping import METRICS
from .trainer import Trainer
from .translator import Answer, SourceError, Translator, ensemble, load
from .whole import TrainingRun, train

__all__ = [
    "METRICS",
    "SCHEDULES",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Answer",
    "Board",
    "CardSettings",
    "Constant",
    "Cosine",
    "DataSettings",
    "DivergedError",
    "Done",
    "EpochRecord",
    "History",
    "InverseSqrt",
    "Linear",
    "ModelFolderError",
    "ModelSettings",
    "Momentum",
    "Nesterov",
    "Optimizer",
    "Outcome",
    "Plateau",
    "RMSprop",
    "Schedule",
    "Score",
    "Settings",
    "SettingsError",
    "SourceError",
    "SplitPairs",
    "State",
    "StepRecord",
    "Trainer",
    "TrainingRun",
    "TrainingSettings",
    "TrainingWarning",
    "Translator",
    "clip_grads",
    "constant",
    "edit_distance",
    "ensemble",
    "epoch_line",
    "linear",
    "load",
    "make_schedule",
    "save",
    "score",
    "train",
]
