"""Settings of a run: one frozen class per TOML table, and one module per group of tables.

These classes make the TOML file, the JSON schema and the parameters of the Prefect flow. Each field
is therefore described once. Config is data: nothing here reads a file.
"""

from pipeline.config.comparison import CompareConfig, LoraConfig
from pipeline.config.compute import ComputeConfig
from pipeline.config.data import DataConfig
from pipeline.config.onnx_files import ExportConfig, QuantizeConfig
from pipeline.config.proof import BenchmarkConfig, EvaluateConfig, GateConfig
from pipeline.config.release import PromotionRule, RegistryPlace, ReleaseConfig
from pipeline.config.run import RunConfig
from pipeline.config.section import Section
from pipeline.config.student import AbsorbConfig, StudentConfig
from pipeline.config.sweep import SweepConfig
from pipeline.config.teacher import AdapterConfig, AdapterSource, ModelConfig, TeacherConfig
from pipeline.config.training import DistillConfig, FuseConfig, HeadOnlyConfig, TrainingConfig

__all__ = [
    "AbsorbConfig",
    "AdapterConfig",
    "AdapterSource",
    "BenchmarkConfig",
    "CompareConfig",
    "ComputeConfig",
    "DataConfig",
    "DistillConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FuseConfig",
    "GateConfig",
    "HeadOnlyConfig",
    "LoraConfig",
    "ModelConfig",
    "PromotionRule",
    "QuantizeConfig",
    "RegistryPlace",
    "ReleaseConfig",
    "RunConfig",
    "Section",
    "StudentConfig",
    "SweepConfig",
    "TeacherConfig",
    "TrainingConfig",
]
