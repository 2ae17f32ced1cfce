"""Code generators, one package each; a target picks the one it needs."""
