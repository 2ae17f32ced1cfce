"""Random networks on random machines: the bits of the integer graph, whatever part the CPU has to take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.frontend.onnx_import import from_onnx
from compiler.graph.interpreter import evaluate
from compiler.graph.pipeline import to_integer
from hw.config import Config
from runtime.executor import Executor
from tests.vdla.cases import machines
from tests.vdla.networks import RandomNetwork
from vdla.driver import CompileOptions, compile_model


def check(cfg: Config, network: RandomNetwork, options: CompileOptions) -> None:
    """Both simulators give what the integer graph gives in numpy, and whatever is not on VDLA has a reason."""
    model = network.model()
    inputs = {"x": network.rng.standard_normal(network.input_shape).astype(np.float32)}
    graph, _ = to_integer(from_onnx(model))
    expected = evaluate(graph, inputs)
    artifact = compile_model(model, cfg, options=options).artifact
    for sim in ("cycle", "functional"):
        result = Executor(artifact, sim=sim).run(inputs)
        assert result.outputs.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(result.outputs[name], array)
        assert all(layer.reason for layer in result.profile.layers if layer.target == "cpu")


NETWORKS = st.builds(RandomNetwork, st.integers(0, 1 << 30), st.integers(1, 9))
OPTIONS = st.sampled_from([CompileOptions(), CompileOptions(virtual_threads=False), CompileOptions(fusion=False)])


# Those in force; their class knows which are, its type does not say so.
EVERY_CHECK: Any = list(HealthCheck)


@settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=EVERY_CHECK)
@given(machines(), NETWORKS, OPTIONS)
def test_random_networks(cfg: Config, network: RandomNetwork, options: CompileOptions) -> None:
    check(cfg, network, options)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=EVERY_CHECK)
@given(machines(), NETWORKS, OPTIONS)
def test_many_random_networks(cfg: Config, network: RandomNetwork, options: CompileOptions) -> None:
    check(cfg, network, options)


def test_a_result_added_to_itself() -> None:
    check(Config.load("tiny"), RandomNetwork(199, 8), CompileOptions())
