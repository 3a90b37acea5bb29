"""Runs a module over time: whole sequences, streams, recordings, states, input and output signals.

In: a `ConvertedModule` and signals (T, B, *shape). Out: outputs, recordings and a state.

Always: the same numbers as calling the module step by step; the README beside this says which are
equal to the bit. Cost: linear in steps.
"""
