"""Reference torch modules for the NIR primitives, one file per family.

A stateless module takes `x` and returns `y`. A stateful one takes `(x, state=None)` and returns
`(y, new_state)`, where a state is a dict of named tensors that is never changed. Any number of
leading batch axes is allowed. Weights are parameters and the constants of a neuron are buffers,
under their NIR names.

Primitives for which torch has a suitable module (`torch.nn.Linear` for a matrix, `torch.nn.Flatten`
with axes counted from the back) are not repeated here.

For many steps at once, a neuron's `over_time` gives the same numbers: `recurrence` updates its
variables from step to step, `firing` adds threshold and reset, `gradients` has hand-written
backward passes, and `stepping` chooses between these.
"""
