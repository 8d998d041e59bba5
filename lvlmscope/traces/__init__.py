"""What a trace is: its fields, files, words, labelled arrays and images. Knows no model and no figure."""
