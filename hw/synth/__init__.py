"""From a machine to an FPGA: a flow is a file (hw/synth/flow.py says what it holds), hw/synth/engine.py runs it."""
