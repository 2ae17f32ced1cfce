"""Explorers: which points of a schedule space to measure next."""

from compiler.tune.search.annealing import SimulatedAnnealing
from compiler.tune.search.exhaustive import ExhaustiveSearch
from compiler.tune.search.explorer import Explorer
from compiler.tune.search.genetic import GeneticSearch
from compiler.tune.search.model_guided import ModelGuidedSearch
from compiler.tune.search.random_search import RandomSearch

__all__ = [
    "ExhaustiveSearch",
    "Explorer",
    "GeneticSearch",
    "ModelGuidedSearch",
    "RandomSearch",
    "SimulatedAnnealing",
]
