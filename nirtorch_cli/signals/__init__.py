"""What goes into a run and what comes out of it, as NumPy arrays, files and generators.

`inputs` is the door in: what a user asked to feed, to a signal (T, B, *shape) for every Input
of a model, of which `feeding` hands out one part after the other. `outputs` is the door out,
`states` keeps a state between two runs. Behind them: `sources` fetches bytes, `archives` reads
and writes .npy and .npz, `tables` .csv, `nirdata` NIR data files, which `binning` puts on a grid
and `nirdata_writing` writes; `generators` makes inputs out of a few words; `arranging` makes
every array fit or says why it does not.

T is the number of time steps, B of batch rows. Nothing here imports torch.
"""
