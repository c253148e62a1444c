'''Building blocks of towers: blocks, activations, dropout, poolings and initializers.

Your own part is a function or class in a file of yours, which the config names under `imports:`. TowerZoo passes the
context arguments named here as keywords; all other keyword arguments of the part are its YAML parameters.

- A block (`BLOCKS`) is called with `in_features` and `out_features`. It returns an `nn.Module`, or the list of modules
  of one layer, that maps (B, in_features) to (B, out_features); in eval mode B may be 1. A tower prints as one flat
  `nn.Sequential` of the modules of its blocks.
- An activation (`ACTIVATIONS`) is called without context and returns an elementwise `nn.Module`.
- A pooling (`POOLINGS`) is called with `dim`. It returns a callable that maps vectors (B, L, dim) and a mask (B, L),
  true where a vector counts, to finite numbers (B, dim), also for rows in which none counts.
- An initializer (`INITIALIZERS`) is called with `weight`, a parameter of at least two dimensions, fills it in place and
  returns nothing.

Modules compute in torch's default type, float32. A part is tried on a few small tensors when it is built, so one that
breaks its contract fails before training, with a `PartError` that names its file and line.

    from towerzoo.registry import BLOCKS

    @BLOCKS.register("linear-gelu")
    def linear_gelu(in_features: int, out_features: int) -> list[nn.Module]:
        """Linear, GELU."""
        return [nn.Linear(in_features, out_features), nn.GELU()]
'''
