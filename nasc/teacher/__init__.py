"""The teacher: an encoder of one of `FAMILIES` in one plain structure."""

from nasc.teacher.config import FAMILIES
from nasc.teacher.encoder import (
    EmbeddingWeights,
    LayerWeights,
    Teacher,
    TeacherGeometry,
    sentence_vectors,
)
from nasc.teacher.finding import default_teacher_folder, load_teacher
from nasc.teacher.folder import DEFAULT_TEACHER_SHA256
from nasc.teacher.tokenizer import quiet_transformers

__all__ = [
    "DEFAULT_TEACHER_SHA256",
    "FAMILIES",
    "EmbeddingWeights",
    "LayerWeights",
    "Teacher",
    "TeacherGeometry",
    "default_teacher_folder",
    "load_teacher",
    "quiet_transformers",
    "sentence_vectors",
]
