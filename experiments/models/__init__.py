"""Backbones, heads, fine-tuning policies and the two LightningModules that train them."""

from experiments.models.backbone import Backbone, BackboneSpec, build_backbone
from experiments.models.blind import BlindBackbone
from experiments.models.finetune import FrozenBackbone, apply_policy, check
from experiments.models.heads import MlpHead, PlanningHead, PlanOutput, build_head
from experiments.models.ijepa import IJepaBackbone
from experiments.models.ijepa_pretraining import IJepaPretraining, official_checkpoint
from experiments.models.planning import PlanningModule, build_planning
from experiments.models.transfuser import TransFuser
from experiments.models.vit import ViTBackbone
from experiments.models.vovnet import VoVNetBackbone

__all__ = [
    "Backbone",
    "BackboneSpec",
    "BlindBackbone",
    "FrozenBackbone",
    "IJepaBackbone",
    "IJepaPretraining",
    "MlpHead",
    "PlanOutput",
    "PlanningHead",
    "PlanningModule",
    "TransFuser",
    "ViTBackbone",
    "VoVNetBackbone",
    "apply_policy",
    "build_backbone",
    "build_head",
    "build_planning",
    "check",
    "official_checkpoint",
]
