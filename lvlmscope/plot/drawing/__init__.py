"""How a figure is drawn, in matplotlib and plotly. Chooses no data."""
