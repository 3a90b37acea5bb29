"""A converted module as plain torch source that a person can read, change and train.

In: a converted module. Out: the text of a Python file, and the tensors that it loads.

    plain.py          layers and functions of readable modules, as they are written into them
    neurons.py        the text of NIR's neurons, for one meaning of a step
    definitions.py    functions and classes of other files, taken over with all that they name
    layers.py         the module of a node: its class, its construction, its tensors
    forward.py        an fx graph as the lines of a `forward`
    document.py       all of it as one file
    writing.py        the file and its weights, on disk
"""
