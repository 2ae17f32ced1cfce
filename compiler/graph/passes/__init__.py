"""Graph passes, one a file; compiler.graph.pipeline puts them in order."""
