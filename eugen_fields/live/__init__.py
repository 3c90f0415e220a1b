"""What nerfstudio's page shows of a field while it trains: a card, a mesh and a slice."""
