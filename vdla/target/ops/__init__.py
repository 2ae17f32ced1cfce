"""Operator families on VDLA: a tensor expression, a schedule template and the search for its tiles, one a file."""
