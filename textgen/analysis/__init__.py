"""Analyses of trained runs: comparing cells, inspecting gates and states, gradients and context, novelty."""
