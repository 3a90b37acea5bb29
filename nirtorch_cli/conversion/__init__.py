"""A graph and maps to a `torch.fx.GraphModule`, and that to a file and back.

In: a sound graph, maps from NIR node types to modules. Out: a `ConvertedModule`; `artefacts` writes
and loads it.

Always: a module is a pure function of input and state, and survives saving; what a map promises is
checked.
"""
