"""Reference torch modules for the NIR primitives, one family a file.

A stateless module takes `x` and returns `y`. A stateful one takes `(x, state=None)` and
returns `(y, new_state)`, where a state is a dict of named tensors that is never changed.
Any number of leading batch axes is allowed. Weights are parameters, the constants of a
neuron buffers, under the names that they have in NIR.

Primitives for which torch has a module that does just this (`torch.nn.Linear` for a
matrix, `torch.nn.Flatten` counted from the back) are not repeated here.

Over many steps at once a neuron's `over_time` gives the same: `recurrence` has how its variables
go from step to step, `firing` when it fires, `gradients` its gradient by hand, and `stepping`
chooses between them.
"""
