"""Reading and editing attention calls and the residual stream of a running model. Knows no family and no trace."""
