"""The automated optimiser: schedule spaces, features, cost models, explorers, measuring, database."""
