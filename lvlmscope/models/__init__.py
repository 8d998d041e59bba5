"""A loaded model, its family and its geometry. Knows no trace of it."""
