"""The NIR node types: fields, shapes, states, and the torch module of each.

In: a node type, or a node with its parameters. Out: its description from `table`, without torch, or
its module from `modules`.

Always: a type is described here and nowhere else; only `modules` loads torch.
"""
