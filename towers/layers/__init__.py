"""What towers are built of: blocks, activations, dropout, pooling ops, initializers."""
