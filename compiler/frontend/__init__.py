"""Importers of trained models."""
