"""The graph of a model as a picture: SVG, DOT or Mermaid; `picture` is the entry point.

Each format has a file of its own; they share the `scene` and the styles in `labels`. Only SVG is
laid out here (`layout`, which uses `sheet`, `layering`, `placing` and `routing`; `labelling`);
the other formats leave that to the program that reads them, except for the direction.
"""
