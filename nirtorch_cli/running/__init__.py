"""A module over time: whole sequences, streams, recordings, states, signals in and out.

In: a `ConvertedModule` and signals (T, B, *shape). Out: outputs, recordings and a state.

Always: the same numbers as the module called step by step, to the bit where the
README beside this says so. Cost: linear in steps.
"""
