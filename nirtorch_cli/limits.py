"""How much of a model is taken before it is refused. Imports nothing."""

DEFAULT_MAX_BYTES = 4 * 2**30
"""What the datasets of a file may claim, all together."""

MAX_NESTING = 100
"""How deep nested graphs and metadata may be nested."""
