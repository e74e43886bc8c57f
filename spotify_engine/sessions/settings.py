"""Everything that decides what ``train_synthetic.py`` does."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from spotify_engine.config import JobConfig
from spotify_engine.learning.trainers.task import SessionTrainingConfig
from spotify_engine.sessions.measure.leaderboard import SessionEvaluationConfig
from spotify_engine.sessions.measure.splits import TemporalSplitConfig
from spotify_engine.sessions.model.basic_gat import BasicGATConfig
from spotify_engine.sessions.model.enhanced_gat import EnhancedGATConfig
from spotify_engine.sessions.model.graph import SessionGraphConfig
from spotify_engine.sessions.model.session_aware import SessionModelConfig
from spotify_engine.sessions.recommend.supplement import SupplementConfig
from spotify_engine.sessions.synthetic import SyntheticConfig
from spotify_engine.sessions.tables.plays import SessionDataConfig

ModelName = Literal["basic", "enhanced", "session"]
TrainerName = Literal["simple", "advanced"]
MODELS: tuple[ModelName, ...] = ("basic", "enhanced", "session")


class SessionInputs(BaseModel):
    """The paths of the data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str | None = None
    """Folder of session CSVs; None: generate them into the run directory."""


class TrainingByModel(BaseModel):
    """Training settings of each model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    basic: SessionTrainingConfig = SessionTrainingConfig()
    enhanced: SessionTrainingConfig = SessionTrainingConfig()
    session: SessionTrainingConfig = SessionTrainingConfig()


class SyntheticJob(JobConfig):
    """Settings by section."""

    inputs: SessionInputs = SessionInputs()
    models: tuple[ModelName, ...] = Field(default=MODELS, min_length=1)
    """The models to train; the last of basic, enhanced, session among them ranks in the bundle."""
    trainer: TrainerName = "advanced"
    """simple: all data, no validation, no leaderboard. advanced: 70/15/15 by time."""
    generator: SyntheticConfig = SyntheticConfig()
    data: SessionDataConfig = SessionDataConfig()
    split: TemporalSplitConfig = TemporalSplitConfig()
    graph: SessionGraphConfig = SessionGraphConfig()
    basic: BasicGATConfig = BasicGATConfig()
    enhanced: EnhancedGATConfig = EnhancedGATConfig()
    session: SessionModelConfig = SessionModelConfig()
    training: TrainingByModel = TrainingByModel()
    cold: SupplementConfig = SupplementConfig()
    evaluation: SessionEvaluationConfig = SessionEvaluationConfig()
