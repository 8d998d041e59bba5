"""What tests share: tiny models, planted traces, a browser."""
