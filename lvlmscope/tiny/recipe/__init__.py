"""How the bundled model was made: architecture, drawings, batches, training."""
