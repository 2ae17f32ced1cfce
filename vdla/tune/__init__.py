"""Tuning for VDLA: templates of its operators, measuring by the cycle simulator, tuned tiles for the compiler."""
