"""The target-neutral compiler stack: arith, ir, te, lower, backend, graph, frontend, ops."""
