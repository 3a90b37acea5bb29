"""A run by several processes, which torchrun or another launcher started.

`processes` knows which of them this one is, and lets them wait for each other by torch.distributed;
`parts` keeps finished shards in a folder that all of them see; `sharding` shares the shards of a
batch out, and makes one result of them. What a shard is, `running.shards` says.
"""
