"""The machine on a board without a processor: clock, memory, and a serial link through which a host uses both.

- `protocol`: the packets on the link, declared once for both sides;
- `port`, `arbiter`: how everything here talks to the memory;
- `block_memory`, `sdram`: the memories; `axi_slave`: the machine's port to them;
- `serial`, `link`: from pins to packets, from packets to registers and memory;
- `top`: all of it around the machine, still without pins; `ulx3s`: the pins, clocks and I/O cells of a board, with
  the settings of its `pll`.
"""
