"""Stages, settings and files of the value benchmark."""
