"""What public functions share: declared parameters and the progress setting. Knows no model and no trace."""
