"""What folders and archives have in common: files with names, in folders, with sidecars beside."""
