"""What MMEngine's runner takes: hooks, schedulers and strategies, with seeding and the check of a built model."""
