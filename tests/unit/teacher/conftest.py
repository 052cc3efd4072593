"""Folders of tiny teachers that a test may change."""

from teacher_folders import own_folder, sentence_folder

__all__ = ["own_folder", "sentence_folder"]
