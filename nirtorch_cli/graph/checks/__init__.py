"""The rules: one small function per rule, from a graph or a node to findings.

Nothing is changed and nothing is raised here. `structure` looks at nodes and edges, `parameters` at
the numbers in a node, `time` at both together with the length of a step; the rules about shapes are
in `shapes`, which applies them while it infers shapes. `rules.md` says what every code means.
"""
