"""What the machine is: configuration, instruction set, dependences, timing constants."""
