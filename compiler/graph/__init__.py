"""The graph level: typed dataflow IR and the passes on it."""
