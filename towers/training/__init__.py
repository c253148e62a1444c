"""Training with Lightning: the module, the data, callbacks, optimizers, devices."""
