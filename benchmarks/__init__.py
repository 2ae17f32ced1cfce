"""Measurements: each module prints a section in Markdown, and with --write puts it into benchmarks/RESULTS.md.

::

    python -m benchmarks.resnet18        # cycles a layer, virtual threads off and on
    python -m benchmarks.parameters      # the same network on other machines, by --set alone
    python -m benchmarks.speed           # seconds to compile and to simulate
"""
