"""What a figure shows: numbers chosen from traces and aggregates. Draws nothing."""
