"""Mathematics on attention rows: masses, entropies, rules that choose layers and heads. Knows no model and no trace."""
