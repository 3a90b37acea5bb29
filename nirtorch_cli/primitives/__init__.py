"""What each NIR node type is: its fields, its shapes, its states, and its torch module.

In: a node type, or a node with its parameters. Out: what is known of it: from `table` without
torch, or a module from `modules`.

Always: what a type is stands here and nowhere else; only `modules` loads torch.
"""
