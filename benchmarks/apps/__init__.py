"""What the servers serve. This folder alone is on their path: a module here imports nothing but its neighbours."""
